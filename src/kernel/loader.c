/* loader.c - a relocatable object in memory becomes executable memory, without LLVM
 *
 * needs   an x86-64 ELF object as LLVM makes it for us: position independent, small code model,
 *         everything it calls or reads inside it
 * gives   fr__code: one mapping, code first and read-only, then constants and the table of
 *         addresses; written once, before it becomes executable
 *
 * The object may come from a file, so nothing in it is believed: every offset, size, index and
 * name is checked against the buffer, and whatever we don't know is refused.
 */
#define _GNU_SOURCE
#include "kernel/kernel.h"

#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_SECTIONS = 1024, MAX_ALIGN = 4096 };
static const size_t max_bytes = (size_t)64 << 20;

struct fr__code {
    uint8_t *at;
    size_t bytes;
    fr__kfn *entry;
};

typedef struct section {
    Elf64_Shdr head;
    bool loaded;
    size_t at; /* offset in the image */
} section;

typedef struct object {
    const uint8_t *at;
    size_t size;
    section *sections;
    size_t n;
    size_t symbols, strings; /* the sections that hold them; symbols 0: none */
    size_t code, image;      /* bytes of the executable part, and of everything */
    size_t table, tabled;    /* where the table of addresses is, and how much of it is used */
} object;

static int refuse(const char *fmt, ...) FR__PRINTF(1, 2);

static int refuse(const char *fmt, ...)
{
    char why[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return fr__fail_int(FR__E_INTERNAL, "object code: %s", why);
}

static bool inside(const object *o, uint64_t offset, uint64_t bytes)
{
    return offset <= o->size && bytes <= o->size - offset;
}

/* Objects are not aligned: everything is copied out. The range was checked. */
static Elf64_Sym symbol_at(const object *o, uint64_t i)
{
    Elf64_Sym s;

    memcpy(&s, o->at + o->sections[o->symbols].head.sh_offset + i * sizeof s, sizeof s);
    return s;
}

static uint64_t nsymbols(const object *o)
{
    return o->symbols ? o->sections[o->symbols].head.sh_size / sizeof(Elf64_Sym) : 0;
}

/* NULL if the name isn't a string within its section. */
static const char *name_at(const object *o, size_t in, uint64_t offset)
{
    const Elf64_Shdr *s = &o->sections[in].head;
    const char *name = (const char *)o->at + s->sh_offset + offset;

    return offset < s->sh_size && memchr(name, 0, s->sh_size - offset) ? name : NULL;
}

/* ---- headers ------------------------------------------------------------------------ */

static int check_header(const object *o, Elf64_Ehdr *h)
{
    if (o->size > max_bytes)
        return fr__fail_int(FR__E_LIMIT, "object code of %zu bytes", o->size);
    if (!inside(o, 0, sizeof *h))
        return refuse("too short");
    memcpy(h, o->at, sizeof *h);
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 ||
        h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_type != ET_REL)
        return refuse("not a relocatable object");
#if defined(__x86_64__)
    if (h->e_machine != EM_X86_64)
#endif
        return fr__fail_int(FR__E_DEVICE, "object code: unsupported machine (%s)",
                            h->e_machine == EM_X86_64    ? "x86-64"
                            : h->e_machine == EM_AARCH64 ? "aarch64"
                                                         : "unknown");
#if defined(__x86_64__)
    if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum == 0 || h->e_shnum > MAX_SECTIONS ||
        !inside(o, h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr)) ||
        h->e_shstrndx >= h->e_shnum)
        return refuse("section headers out of range");
    return 0;
#endif
}

static int read_sections(object *o, const Elf64_Ehdr *h)
{
    o->n = h->e_shnum;
    o->sections = fr__calloc(o->n, sizeof *o->sections);
    if (!o->sections)
        return -1;
    for (size_t i = 0; i < o->n; i++) {
        Elf64_Shdr *s = &o->sections[i].head;
        memcpy(s, o->at + h->e_shoff + i * sizeof *s, sizeof *s);
        if (s->sh_type != SHT_NULL && s->sh_type != SHT_NOBITS &&
            !inside(o, s->sh_offset, s->sh_size))
            return refuse("section %zu out of range", i);
        if (s->sh_type == SHT_SYMTAB) {
            if (o->symbols)
                return refuse("two symbol tables");
            o->symbols = i;
        }
    }
    if (o->sections[h->e_shstrndx].head.sh_type != SHT_STRTAB)
        return refuse("no section names");
    if (o->symbols) {
        const Elf64_Shdr *s = &o->sections[o->symbols].head;
        o->strings = s->sh_link;
        if (s->sh_entsize != sizeof(Elf64_Sym) || o->strings >= o->n ||
            o->sections[o->strings].head.sh_type != SHT_STRTAB)
            return refuse("symbol table out of order");
    }
    return 0;
}

/* ---- placing ------------------------------------------------------------------------ */

static int choose_sections(object *o, size_t names)
{
    for (size_t i = 0; i < o->n; i++) {
        const Elf64_Shdr *s = &o->sections[i].head;
        const char *name;
        if (!(s->sh_flags & SHF_ALLOC) || s->sh_size == 0)
            continue;
        name = name_at(o, names, s->sh_name);
        if (!name)
            return refuse("section %zu has no name", i);
        if (s->sh_type == SHT_X86_64_UNWIND || !strcmp(name, ".eh_frame"))
            continue; /* nothing unwinds through a kernel */
        if (s->sh_type != SHT_PROGBITS)
            return refuse("section %.40s of type %u", name, s->sh_type);
        if ((s->sh_flags & (SHF_TLS | SHF_COMPRESSED)) ||
            ((s->sh_flags & SHF_WRITE) &&
             ((s->sh_flags & SHF_EXECINSTR) || strncmp(name, ".data.rel.ro", 12))))
            return refuse("section %.40s is writable or special", name);
        if (s->sh_addralign > MAX_ALIGN || (s->sh_addralign & (s->sh_addralign - 1)))
            return refuse("section %.40s aligned to %llu", name,
                          (unsigned long long)s->sh_addralign);
        o->sections[i].loaded = true;
    }
    return 0;
}

static bool is_code(const section *s) { return s->head.sh_flags & SHF_EXECINSTR; }

static int place_sections(object *o, bool code, size_t *end)
{
    for (size_t i = 0; i < o->n; i++) {
        section *s = &o->sections[i];
        size_t align = s->head.sh_addralign ? s->head.sh_addralign : 1;
        if (!s->loaded || is_code(s) != code)
            continue;
        s->at = (*end + align - 1) & ~(align - 1);
        *end = s->at + s->head.sh_size; /* each at most the object's size */
        if (*end > max_bytes)
            return fr__fail_int(FR__E_LIMIT, "object code of more than %zu bytes", max_bytes);
    }
    return 0;
}

/* The relocations of section i, where they concern us. 1: yes, 0: no, -1: refused. */
static int relocations_of(const object *o, size_t i, uint64_t *count)
{
    const Elf64_Shdr *s = &o->sections[i].head;

    *count = 0;
    if (s->sh_type != SHT_RELA && s->sh_type != SHT_REL)
        return 0;
    if (s->sh_info >= o->n)
        return refuse("relocations of section %u, which isn't there", s->sh_info);
    if (!o->sections[s->sh_info].loaded)
        return 0;
    if (s->sh_type == SHT_REL || s->sh_entsize != sizeof(Elf64_Rela) || !o->symbols ||
        s->sh_link != o->symbols)
        return refuse("relocations out of order");
    *count = s->sh_size / sizeof(Elf64_Rela);
    return 1;
}

static Elf64_Rela relocation_at(const object *o, size_t section, uint64_t i)
{
    Elf64_Rela r;

    memcpy(&r, o->at + o->sections[section].head.sh_offset + i * sizeof r, sizeof r);
    return r;
}

static bool by_table(uint32_t type)
{
    return type == R_X86_64_GOTPCREL || type == R_X86_64_GOTPCRELX ||
           type == R_X86_64_REX_GOTPCRELX;
}

static int lay_out(object *o)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = 0, slots = 0;

    if (place_sections(o, true, &end))
        return -1;
    o->code = end = (end + page - 1) / page * page;
    if (place_sections(o, false, &end))
        return -1;
    for (size_t i = 0; i < o->n; i++) {
        uint64_t count;
        if (relocations_of(o, i, &count) < 0)
            return -1;
        for (uint64_t r = 0; r < count; r++)
            slots += by_table(ELF64_R_TYPE(relocation_at(o, i, r).r_info));
    }
    o->table = (end + 7) & ~(size_t)7;
    o->image = (o->table + 8 * slots + page - 1) / page * page;
    return o->code ? 0 : refuse("no code");
}

/* ---- relocating --------------------------------------------------------------------- */

/* Offset in the image of a symbol of ours. */
static int find_symbol(const object *o, uint64_t i, size_t *at)
{
    Elf64_Sym s;

    if (i >= nsymbols(o))
        return refuse("symbol %llu, which isn't there", (unsigned long long)i);
    s = symbol_at(o, i);
    if (s.st_shndx == SHN_UNDEF) {
        const char *name = name_at(o, o->strings, s.st_name);
        return refuse("undefined symbol '%.80s'", name ? name : "?");
    }
    if (s.st_shndx >= o->n || !o->sections[s.st_shndx].loaded ||
        s.st_value > o->sections[s.st_shndx].head.sh_size)
        return refuse("symbol %llu lies outside", (unsigned long long)i);
    *at = o->sections[s.st_shndx].at + s.st_value;
    return 0;
}

static int relocate(object *o, uint8_t *image, const section *target, const Elf64_Rela *r)
{
    uint32_t type = ELF64_R_TYPE(r->r_info);
    size_t width = type == R_X86_64_64 ? 8 : 4, to, from;
    const int64_t slack = 16; /* of instructions that end some bytes after the address */
    int64_t reach;
    int32_t distance;
    uint64_t address;

    if (r->r_offset > target->head.sh_size || width > target->head.sh_size - r->r_offset)
        return refuse("relocation outside its section");
    if (find_symbol(o, ELF64_R_SYM(r->r_info), &to))
        return -1;
    from = target->at + r->r_offset;
    if (r->r_addend > (int64_t)max_bytes || r->r_addend < -(int64_t)max_bytes)
        return refuse("relocation to far outside");
    if (by_table(type)) {
        if (r->r_addend < -slack || r->r_addend > 0)
            return refuse("relocation into the middle of the table");
        address = (uint64_t)(uintptr_t)(image + to);
        to = o->table + 8 * o->tabled++; /* counted by lay_out */
        memcpy(image + to, &address, 8);
    } else if (type != R_X86_64_PC32 && type != R_X86_64_PLT32 && type != R_X86_64_64) {
        return refuse("relocation of type %u", type);
    }
    reach = (int64_t)to + r->r_addend;
    if (reach < -slack || reach > (int64_t)o->image)
        return refuse("relocation to outside");
    if (type == R_X86_64_64) {
        address = (uint64_t)(uintptr_t)image + (uint64_t)reach;
        memcpy(image + from, &address, 8);
    } else {
        distance = (int32_t)(reach - (int64_t)from); /* at most max_bytes */
        memcpy(image + from, &distance, 4);
    }
    return 0;
}

static int fill_image(object *o, uint8_t *image)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->sections[i].loaded)
            memcpy(image + o->sections[i].at, o->at + o->sections[i].head.sh_offset,
                   o->sections[i].head.sh_size);
    for (size_t i = 0; i < o->n; i++) {
        uint64_t count;
        if (relocations_of(o, i, &count) < 0)
            return -1;
        for (uint64_t r = 0; r < count; r++) {
            Elf64_Rela rela = relocation_at(o, i, r);
            if (relocate(o, image, &o->sections[o->sections[i].head.sh_info], &rela))
                return -1;
        }
    }
    return 0;
}

static int find_entry(const object *o, const char *wanted, size_t *at)
{
    bool found = false;

    for (uint64_t i = 1; i < nsymbols(o); i++) {
        Elf64_Sym s = symbol_at(o, i);
        const char *name = name_at(o, o->strings, s.st_name);
        if (!name)
            return refuse("symbol %llu has no name", (unsigned long long)i);
        if (s.st_shndx == SHN_UNDEF)
            return refuse("undefined symbol '%.80s'", name);
        if (strcmp(name, wanted) || ELF64_ST_TYPE(s.st_info) != STT_FUNC)
            continue;
        if (find_symbol(o, i, at))
            return -1;
        if (found || !is_code(&o->sections[s.st_shndx]) ||
            s.st_value >= o->sections[s.st_shndx].head.sh_size)
            return refuse("'%.80s' is not one function", wanted);
        found = true;
    }
    return found ? 0 : refuse("no function '%.80s'", wanted);
}

/* ---- the whole ---------------------------------------------------------------------- */

static uint8_t *map_image(object *o)
{
    uint8_t *image = MAP_FAILED;

    if (!fr__fault_now())
        image =
            mmap(NULL, o->image, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (image == MAP_FAILED)
        return fr__fail(FR__E_MEMORY, "no memory for %zu bytes of code", o->image);
    if (fill_image(o, image)) {
        munmap(image, o->image);
        return NULL;
    }
    if (mprotect(image, o->code, PROT_READ | PROT_EXEC) ||
        (o->image > o->code && mprotect(image + o->code, o->image - o->code, PROT_READ))) {
        munmap(image, o->image);
        return fr__fail(FR__E_IO, "the system allows no executable memory");
    }
    __builtin___clear_cache((char *)image, (char *)image + o->code);
    return image;
}

fr__code *fr__code_load(const void *bytes, size_t size, const char *name)
{
    object o = {.at = bytes, .size = size};
    fr__code *c = fr__malloc(sizeof *c);
    Elf64_Ehdr head;
    size_t entry = 0;

    if (!c)
        return NULL;
    c->at = NULL;
    if (!check_header(&o, &head) && !read_sections(&o, &head) &&
        !choose_sections(&o, head.e_shstrndx) && !lay_out(&o) && !find_entry(&o, name, &entry))
        c->at = map_image(&o);
    fr__free(o.sections);
    if (!c->at) {
        fr__free(c);
        return NULL;
    }
    c->bytes = o.image;
    c->entry = (fr__kfn *)(uintptr_t)(c->at + entry);
    return c;
}

fr__kfn *fr__code_entry(const fr__code *c) { return c->entry; }

void fr__code_free(fr__code *c)
{
    if (!c)
        return;
    munmap(c->at, c->bytes);
    fr__free(c);
}
