/* llvm.c - opens libLLVM, and the life of one compilation in it
 *
 * needs   nothing; LLVM is looked for when the first kernel wants machine code
 * gives   fr__llvm_ready, fr__llvm (the table), sessions: a module in, object code or text out
 *
 * No optimisation passes run: the emitters write the vectors they want, and code generation
 * alone was as fast as gcc -O3 at half the time of any pass pipeline.
 */
#define _GNU_SOURCE
#include "kernel/llvm.h"

#include "base/fork.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

fr__llvm_functions fr__llvm;
bool fr__llvm_verify;

/* Libraries that are known to work, best first. The C API's table above fits each of them. */
static const struct {
    const char *soname, *version;
    unsigned major;
} known[] = {{"libLLVM.so.19.1", "19.1", 19}};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;
static char why[256];
static fr__llvm_machine host, forced;

static bool has_feature(const char *features, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = features; (p = strstr(p, name)); p += n)
        if (p > features && p[-1] == '+' && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static void machine_flags(fr__llvm_machine *m)
{
#if defined(__x86_64__)
    m->fma = has_feature(m->features, "fma");
    m->f16c = has_feature(m->features, "f16c");
    m->avx2 = has_feature(m->features, "avx2");
    m->avx512 = has_feature(m->features, "avx512f") && has_feature(m->features, "avx512bw") &&
                has_feature(m->features, "avx512dq") && has_feature(m->features, "avx512vl");
#else
    m->fma = m->f16c = true; /* aarch64's baseline has both */
#endif
}

static void *open_library(unsigned *major)
{
    const char *path = fr__env("LLVM");
    if (path && !strcmp(path, "off")) {
        snprintf(why, sizeof why, "switched off by FERRULE_LLVM");
        return NULL;
    }
    if (path && *path) {
        void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
        if (!library)
            snprintf(why, sizeof why, "FERRULE_LLVM: %s", dlerror());
        *major = known[0].major;
        return library;
    }
    for (int i = 0; i < FR__COUNT(known); i++) {
        void *library = dlopen(known[i].soname, RTLD_LAZY | RTLD_LOCAL);
        *major = known[i].major;
        if (library)
            return library;
    }
    snprintf(why, sizeof why, "%s", dlerror());
    return NULL;
}

static bool find_functions(void *library)
{
    static const struct {
        const char *name;
        size_t offset;
    } table[] = {
#define X(name) {"LLVM" #name, offsetof(fr__llvm_functions, name)},
        FR__LLVM_FUNCTIONS(X)
#undef X
    };
    for (int i = 0; i < FR__COUNT(table); i++) {
        void *symbol = dlsym(library, table[i].name);
        if (!symbol) {
            snprintf(why, sizeof why, "libLLVM has no %s", table[i].name);
            return false;
        }
        memcpy((char *)&fr__llvm + table[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

static bool find_host(void)
{
    host.triple = fr__llvm.GetDefaultTargetTriple(); /* these three live as long as we do */
    host.cpu = fr__llvm.GetHostCPUName();
    host.features = fr__llvm.GetHostCPUFeatures();
    machine_flags(&host);
#if defined(__x86_64__)
    if (!has_feature(host.features, "sse4.1")) { /* rounding would become library calls */
        snprintf(why, sizeof why, "the processor lacks SSE4.1");
        return false;
    }
#elif !defined(__aarch64__)
    snprintf(why, sizeof why, "no emitter for this processor");
    return false;
#endif
    return true;
}

static void open_llvm(void)
{
    unsigned major = 0, got = 0, minor = 0, patch = 0;
    void *library = open_library(&major);
    if (!library)
        return;
    if (find_functions(library)) {
        fr__llvm.GetVersion(&got, &minor, &patch);
        if (got != major) {
            snprintf(why, sizeof why, "LLVM %u.%u is not %u", got, minor, major);
        } else {
#define X(name) fr__llvm.name();
            FR__LLVM_NATIVE(X)
            FR__LLVM_NVPTX(X)
#undef X
            ready = find_host();
            if (ready)
                snprintf(why, sizeof why, "LLVM %u.%u.%u", got, minor, patch);
        }
    }
    if (!ready)
        dlclose(library);
}

bool fr__llvm_ready(void)
{
    pthread_once(&once, open_llvm);
    return ready;
}

const char *fr__llvm_why(void)
{
    fr__llvm_ready();
    return why;
}

const char *fr__llvm_version(void)
{
    const char *path = fr__env("LLVM");
    return path && *path ? path : known[0].version;
}

const fr__llvm_machine *fr__llvm_host(void) { return forced.cpu ? &forced : &host; }

void fr__llvm_force(const char *cpu, const char *features)
{
    forced = (fr__llvm_machine){host.triple, cpu, features, false, false, false, false};
    if (cpu)
        machine_flags(&forced);
}

/* ---- one compilation ---------------------------------------------------------------- */

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *context)
{
    fr__llvm_session *s = context;
    if (fr__llvm.GetDiagInfoSeverity(info) != LLVMDSError || s->complaint)
        return;
    char *text = fr__llvm.GetDiagInfoDescription(info);
    s->complaint = fr__strdup(text);
    fr__llvm.DisposeMessage(text);
}

/* Machines that are not in use: making one anew costs a fifth of a compilation. */
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) static void at_load(void)
{
    fr__fork_guard(&idle_lock, FR__RANK_LLVM);
}

static struct {
    const char *cpu; /* what it was made for, a text that stays */
    LLVMTargetMachineRef machine;
} idle[64];
static int nidle;

static LLVMTargetMachineRef take_idle(const char *cpu)
{
    LLVMTargetMachineRef machine = NULL;
    pthread_mutex_lock(&idle_lock);
    for (int i = nidle - 1; i >= 0 && !machine; i--)
        if (idle[i].cpu == cpu) {
            machine = idle[i].machine;
            idle[i] = idle[--nidle];
        }
    pthread_mutex_unlock(&idle_lock);
    return machine;
}

static void put_idle(LLVMTargetMachineRef machine, const char *cpu)
{
    pthread_mutex_lock(&idle_lock);
    bool room = nidle < FR__COUNT(idle);
    if (room) {
        idle[nidle].cpu = cpu;
        idle[nidle++].machine = machine;
    }
    pthread_mutex_unlock(&idle_lock);
    if (!room)
        fr__llvm.DisposeTargetMachine(machine);
}

static LLVMTargetMachineRef make_machine(const char *triple, const char *cpu,
                                         const char *features)
{
    LLVMTargetRef target = NULL;
    char *message = NULL;
    if (fr__llvm.GetTargetFromTriple(triple, &target, &message)) {
        fr__fail(FR__E_INTERNAL, "LLVM: %s", message ? message : "no such target");
        if (message)
            fr__llvm.DisposeMessage(message);
        return NULL;
    }
    LLVMTargetMachineRef machine =
        fr__llvm.CreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelDefault,
                                     LLVMRelocPIC, LLVMCodeModelSmall);
    if (!machine)
        fr__fail(FR__E_INTERNAL, "LLVM: no machine for %s", cpu);
    return machine;
}

int fr__llvm_open(fr__llvm_session *s, const char *triple, const char *cpu,
                  const char *features, bool lasting)
{
    *s = (fr__llvm_session){.pooled = lasting ? cpu : NULL};
    s->machine = lasting ? take_idle(cpu) : NULL;
    if (!s->machine)
        s->machine = make_machine(triple, cpu, features);
    if (!s->machine)
        return -1;
    s->context = fr__llvm.ContextCreate();
    fr__llvm.ContextSetDiagnosticHandler(s->context, on_diagnostic, s);
    s->module = fr__llvm.ModuleCreateWithNameInContext("kernel", s->context);
    fr__llvm.SetTarget(s->module, triple);
    LLVMTargetDataRef data = fr__llvm.CreateTargetDataLayout(s->machine);
    char *layout = fr__llvm.CopyStringRepOfTargetData(data);
    fr__llvm.SetDataLayout(s->module, layout);
    fr__llvm.DisposeMessage(layout);
    fr__llvm.DisposeTargetData(data);
    return 0;
}

void fr__llvm_close(fr__llvm_session *s)
{
    if (s->module)
        fr__llvm.DisposeModule(s->module);
    if (s->context)
        fr__llvm.ContextDispose(s->context);
    if (s->machine && s->pooled)
        put_idle(s->machine, s->pooled);
    else if (s->machine)
        fr__llvm.DisposeTargetMachine(s->machine);
    fr__free(s->complaint);
    *s = (fr__llvm_session){0};
}

static char *copy_out(const char *from, size_t n, size_t *bytes)
{
    char *copy = fr__malloc(n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, from, n);
    copy[n] = 0;
    if (bytes)
        *bytes = n;
    return copy;
}

static int verify(fr__llvm_session *s)
{
    char *message = NULL;
    int bad = fr__llvm.VerifyModule(s->module, LLVMReturnStatusAction, &message);
    if (bad)
        fr__fail(FR__E_INTERNAL, "LLVM: the module is wrong: %.700s", message);
    if (message)
        fr__llvm.DisposeMessage(message);
    return bad ? -1 : 0;
}

char *fr__llvm_write(fr__llvm_session *s, int as, size_t *bytes)
{
    if ((fr__llvm_verify || fr__debug() >= 6) && verify(s))
        return NULL;
    if (as == FR__LLVM_TEXT) {
        char *text = fr__llvm.PrintModuleToString(s->module);
        char *copy = copy_out(text, strlen(text), bytes);
        fr__llvm.DisposeMessage(text);
        return copy;
    }
    LLVMMemoryBufferRef buffer = NULL;
    char *message = NULL;
    LLVMCodeGenFileType type = as == FR__LLVM_OBJECT ? LLVMObjectFile : LLVMAssemblyFile;
    char *copy = NULL;
    if (fr__llvm.TargetMachineEmitToMemoryBuffer(s->machine, s->module, type, &message,
                                                 &buffer))
        fr__fail(FR__E_INTERNAL, "LLVM: %s", message ? message : "code generation failed");
    else if (s->complaint)
        fr__fail(FR__E_INTERNAL, "LLVM: %s", s->complaint);
    else
        copy = copy_out(fr__llvm.GetBufferStart(buffer), fr__llvm.GetBufferSize(buffer), bytes);
    if (message)
        fr__llvm.DisposeMessage(message);
    if (buffer)
        fr__llvm.DisposeMemoryBuffer(buffer);
    return copy;
}

/* ---- what kernel.h promises --------------------------------------------------------- */

static char *compile(const fr__kernel *k, const char *name, int sm, bool many,
                     const fr__ptx_host *ours, int as, size_t *bytes)
{
    if (!fr__llvm_ready())
        return fr__fail(FR__E_DEVICE, "no machine code without LLVM: %s", fr__llvm_why());
    fr__llvm_session s;
    const fr__llvm_machine *m = fr__llvm_host();
    int failed = sm ? fr__llvm_open_ptx(&s, sm)
                    : fr__llvm_open(&s, m->triple, m->cpu, m->features, m == &host);
    if (!failed)
        failed = sm || ours ? fr__llvm_build_ptx(&s, k, name, many, ours)
                            : fr__llvm_build_cpu(&s, k, name);
    char *made = failed ? NULL : fr__llvm_write(&s, as, bytes);
    fr__llvm_close(&s);
    return made;
}

void *fr__llvm_object(const fr__kernel *k, const char *name, size_t *bytes)
{
    return compile(k, name, 0, false, NULL, FR__LLVM_OBJECT, bytes);
}

char *fr__llvm_ptx(const fr__kernel *k, const char *name, int sm, size_t *bytes)
{
    return compile(k, name, sm, false, NULL, FR__LLVM_ASSEMBLY, bytes);
}

char *fr__llvm_ptx_many(const fr__kernel *k, const char *name, int sm, size_t *bytes)
{
    return compile(k, name, sm, true, NULL, FR__LLVM_ASSEMBLY, bytes);
}

void *fr__llvm_ptx_object(const fr__kernel *k, const char *name, bool many,
                          const fr__ptx_host *to, size_t *bytes)
{
    return compile(k, name, 0, many, to, FR__LLVM_OBJECT, bytes);
}

char *fr__llvm_ir(const fr__kernel *k, const char *name, int ptx_sm)
{
    return compile(k, name, ptx_sm, false, NULL, FR__LLVM_TEXT, NULL);
}
