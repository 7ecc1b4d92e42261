/* test_loader.c - objects made by hand are loaded and run; damaged ones are refused, never run */
#define _GNU_SOURCE
#include "kernel/kernel.h"
#include "test.h"

#include <elf.h>
#include <stdlib.h>

/* ---- an object ------------------------------------------------------------------------- */

enum { NONE, TEXT, RODATA, RELRO, RELA_TEXT, RELA_RELRO, SYMTAB, STRTAB, NSECTIONS };
enum { S_NULL, S_RODATA, S_ENTRY, S_HELPER, S_TABLE, NSYMBOLS };

static const char strings[] = "\0.text\0.rodata\0.data.rel.ro\0.rela\0.symtab\0.strtab\0entry\0"
                              "helper\0table\0missing\0.bss\0";

static uint32_t string(const char *s)
{
    for (size_t i = 1; i < sizeof strings; i += strlen(strings + i) + 1)
        if (!strcmp(strings + i, s))
            return (uint32_t)i;
    abort();
}

static const uint8_t text[] = {
    0x48, 0x8b, 0x05, 0,    0, 0,    0, /*  0 mov rax, [rodata]        1000 */
    0x48, 0x8b, 0x0d, 0,    0, 0,    0, /*  7 mov rcx, address of table */
    0x48, 0x03, 0x01,                   /* 14 add rax, [rcx]            200 */
    0x50,                               /* 17 push rax */
    0xe8, 0,    0,    0,    0,          /* 18 call helper                 7 */
    0x59,                               /* 23 pop rcx */
    0x48, 0x01, 0xc8,                   /* 24 add rax, rcx */
    0x48, 0x8b, 0x0d, 0,    0, 0,    0, /* 27 mov rcx, [relro] */
    0x48, 0x03, 0x01,                   /* 34 add rax, [rcx]             30 */
    0x48, 0x8b, 0x4f, 0x08,             /* 37 mov rcx, [rdi + 8] */
    0x48, 0x89, 0x01,                   /* 41 mov [rcx], rax */
    0xc3,                               /* 44 ret */
    0xb8, 7,    0,    0,    0, 0xc3,    /* 45 helper: mov eax, 7; ret */
};
static const int64_t rodata[] = {1000, 200, 30};

typedef struct sample {
    Elf64_Ehdr head;
    Elf64_Shdr section[NSECTIONS];
    Elf64_Sym symbol[NSYMBOLS];
    Elf64_Rela rela_text[4], rela_relro[1];
    int64_t rodata[3], relro[1];
    uint8_t text[sizeof text];
    char strings[sizeof strings];
} sample;

static Elf64_Shdr section_of(const char *name, uint32_t type, uint64_t flags, size_t offset,
                             size_t bytes, uint64_t align)
{
    return (Elf64_Shdr){.sh_name = string(name),
                        .sh_type = type,
                        .sh_flags = flags,
                        .sh_offset = offset,
                        .sh_size = bytes,
                        .sh_addralign = align};
}

static sample make(void)
{
    sample s = {
        .head = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                 .e_type = ET_REL,
                 .e_machine = EM_X86_64,
                 .e_version = EV_CURRENT,
                 .e_ehsize = sizeof(Elf64_Ehdr),
                 .e_shoff = offsetof(sample, section),
                 .e_shentsize = sizeof(Elf64_Shdr),
                 .e_shnum = NSECTIONS,
                 .e_shstrndx = STRTAB},
        .symbol = {[S_RODATA] = {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION),
                                 .st_shndx = RODATA},
                   [S_ENTRY] = {.st_name = string("entry"),
                                .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                                .st_shndx = TEXT},
                   [S_HELPER] = {.st_name = string("helper"),
                                 .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
                                 .st_shndx = TEXT,
                                 .st_value = 45},
                   [S_TABLE] = {.st_name = string("table"),
                                .st_info = ELF64_ST_INFO(STB_LOCAL, STT_OBJECT),
                                .st_shndx = RODATA,
                                .st_value = 8}},
        .rela_text = {{3, ELF64_R_INFO((uint64_t)S_RODATA, R_X86_64_PC32), -4},
                      {10, ELF64_R_INFO((uint64_t)S_TABLE, R_X86_64_REX_GOTPCRELX), -4},
                      {19, ELF64_R_INFO((uint64_t)S_HELPER, R_X86_64_PLT32), -4},
                      {30, ELF64_R_INFO((uint64_t)S_RODATA, R_X86_64_PC32), 0}},
        .rela_relro = {{0, ELF64_R_INFO((uint64_t)S_RODATA, R_X86_64_64), 16}},
    };
#define AT(field) offsetof(sample, field), sizeof s.field
    s.section[TEXT] =
        section_of(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, AT(text), 16);
    s.section[RODATA] = section_of(".rodata", SHT_PROGBITS, SHF_ALLOC, AT(rodata), 64);
    s.section[RELRO] =
        section_of(".data.rel.ro", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, AT(relro), 8);
    s.section[RELA_TEXT] = section_of(".rela", SHT_RELA, SHF_INFO_LINK, AT(rela_text), 8);
    s.section[RELA_RELRO] = section_of(".rela", SHT_RELA, SHF_INFO_LINK, AT(rela_relro), 8);
    s.section[SYMTAB] = section_of(".symtab", SHT_SYMTAB, 0, AT(symbol), 8);
    s.section[STRTAB] = section_of(".strtab", SHT_STRTAB, 0, AT(strings), 1);
#undef AT
    s.section[RELA_TEXT].sh_info = TEXT;
    s.section[RELA_RELRO].sh_info = RELRO;
    s.section[RELA_TEXT].sh_link = s.section[RELA_RELRO].sh_link = SYMTAB;
    s.section[RELA_TEXT].sh_entsize = s.section[RELA_RELRO].sh_entsize = sizeof(Elf64_Rela);
    s.section[SYMTAB].sh_link = STRTAB;
    s.section[SYMTAB].sh_entsize = sizeof(Elf64_Sym);
    /* relro follows rodata (24 bytes) in the image: the last load reads it through rodata */
    s.rela_text[3].r_addend = 24 - 4;
    memcpy(s.rodata, rodata, sizeof rodata);
    memcpy(s.text, text, sizeof text);
    memcpy(s.strings, strings, sizeof strings);
    return s;
}

static bool refused(const sample *s, const char *about)
{
    fr__code *c = fr__code_load(s, sizeof *s, "entry");
    bool right = !c && strstr(fr__error_text(), about);

    if (!right)
        printf("     wanted '%s', got '%s'\n", about, fr__error_text());
    fr__error_clear();
    fr__code_free(c);
    return right;
}

#if defined(__x86_64__)

/* ---- loading --------------------------------------------------------------------------- */

TEST(loads_and_runs)
{
    sample s = make();
    char *moved = malloc(sizeof s + 1); /* objects need not be aligned */
    int64_t result = 0;
    uint64_t w[2] = {0, (uintptr_t)&result};
    fr__code *c;

    memcpy(moved + 1, &s, sizeof s);
    c = fr__code_load(moved + 1, sizeof s, "entry");
    if (!c)
        printf("     %s\n", fr__error_text());
    free(moved);
    CHECK(c);
    fr__code_entry(c)(w, 0, 0, NULL);
    CHECK_EQ(result, 1237);
    fr__code_free(c);
    fr__code_free(NULL);
}

TEST(never_writable_and_executable)
{
    sample s = make();
    fr__code *c = fr__code_load(&s, sizeof s, "entry");
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool seen = false;

    CHECK(c && maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long long from, to, at = (uintptr_t)fr__code_entry(c);
        char mode[8];
        if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) != 3)
            continue;
        CHECK(!(mode[1] == 'w' && mode[2] == 'x'));
        if (at >= from && at < to)
            seen = !strcmp(mode, "r-xp");
    }
    fclose(maps);
    CHECK(seen);
    fr__code_free(c);
}

TEST(refuses)
{
    sample s = make();

    s.head.e_machine = EM_AARCH64;
    CHECK(refused(&s, "unsupported machine (aarch64)"));
    s = make();
    s.head.e_type = ET_DYN;
    CHECK(refused(&s, "not a relocatable object"));
    s = make();
    s.symbol[S_HELPER].st_shndx = SHN_UNDEF;
    s.symbol[S_HELPER].st_name = string("missing");
    CHECK(refused(&s, "undefined symbol 'missing'"));
    s = make();
    s.symbol[S_ENTRY].st_name = string("missing");
    CHECK(refused(&s, "no function 'entry'"));
    s = make();
    s.symbol[S_ENTRY].st_shndx = RODATA;
    CHECK(refused(&s, "'entry' is not one function"));
    s = make();
    s.symbol[S_ENTRY].st_value = sizeof text;
    CHECK(refused(&s, "'entry' is not one function"));
    s = make();
    s.rela_text[0].r_offset = sizeof text - 3;
    CHECK(refused(&s, "relocation outside its section"));
    s = make();
    s.rela_text[0].r_info = ELF64_R_INFO((uint64_t)S_RODATA, R_X86_64_32S);
    CHECK(refused(&s, "relocation of type 11"));
    s = make();
    s.rela_text[0].r_addend = 1 << 20;
    CHECK(refused(&s, "relocation to outside"));
    s = make();
    s.rela_relro[0].r_addend = INT64_MIN;
    CHECK(refused(&s, "relocation to far outside"));
    s = make();
    s.section[RODATA].sh_flags |= SHF_WRITE;
    CHECK(refused(&s, ".rodata is writable"));
    s = make();
    s.section[TEXT].sh_flags |= SHF_WRITE;
    CHECK(refused(&s, ".text is writable"));
    s = make();
    s.section[RODATA].sh_type = SHT_NOBITS;
    CHECK(refused(&s, ".rodata of type 8"));
    s = make();
    s.section[RODATA].sh_addralign = 8192;
    CHECK(refused(&s, "aligned to 8192"));
    s = make();
    s.section[RODATA].sh_size = UINT64_MAX;
    CHECK(refused(&s, "section 2 out of range"));
    s = make();
    s.head.e_shoff = sizeof s - 8;
    CHECK(refused(&s, "section headers out of range"));
    s = make();
    s.symbol[S_TABLE].st_name = sizeof strings;
    CHECK(refused(&s, "symbol 4 has no name"));
    CHECK(!fr__code_load(&s, 10, "entry"));
    fr__error_clear();
    CHECK(!fr__code_load(&s, (size_t)1 << 40, "entry"));
    CHECK_EQ(fr__error_now, FR__E_LIMIT);
    fr__error_clear();
}

TEST(no_memory)
{
    sample s = make();

    for (int nth = 1; nth < 10; nth++) {
        fr__code *c;
        fr__fault_set(nth);
        c = fr__code_load(&s, sizeof s, "entry");
        fr__fault_set(0);
        CHECK_EQ(c != NULL, nth > 3);
        CHECK_EQ(fr__error_now, c ? FR__E_NONE : FR__E_MEMORY);
        fr__error_clear();
        fr__code_free(c);
    }
}

#else

TEST(refuses)
{
    sample s = make();
    CHECK(refused(&s, "unsupported machine"));
}

#endif

/* ---- damage ---------------------------------------------------------------------------- */

static uint64_t state = 1;
static uint64_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return fr__hash_mix(state, 3);
}

/* Whatever happens to the bytes: NULL with an error, or code; no touch outside of the buffer
 * (the address sanitizer sees to that). What loads is never run. */
TEST(damaged_objects)
{
    static const uint64_t nasty[] = {
        0,          1,          7,          0xff,       0xffff,
        0x7fffffff, 0xffffffff, 1ull << 63, UINT64_MAX, UINT64_MAX - 63,
        4096,       1ull << 32};
    int loaded = 0, rounds = 60000;

    for (int i = 0; i < rounds; i++) {
        sample s = make();
        uint8_t *bytes = (uint8_t *)&s, *copy;
        size_t size = sizeof s, headers = offsetof(sample, rodata);
        fr__code *c;
        for (int n = (int)(next() % 4); n >= 0; n--) {
            size_t at = next() % headers;
            uint64_t v = nasty[next() % 12];
            size_t width = (size_t)1 << next() % 4;
            switch (next() % 3) {
            case 0: bytes[at] ^= (uint8_t)(1u << next() % 8); break;
            case 1:
                at = at / width * width;
                memcpy(bytes + at, &v, width);
                break;
            default:
                v = next() % (sizeof s + 20);
                at = at / width * width;
                memcpy(bytes + at, &v, width);
            }
        }
        if (next() % 8 == 0)
            size = next() % sizeof s;
        copy = malloc(size ? size : 1);
        memcpy(copy, bytes, size);
        c = fr__code_load(copy, size, "entry");
        CHECK_EQ(c == NULL, fr__error_now != FR__E_NONE);
        fr__error_clear();
        loaded += c != NULL;
        fr__code_free(c);
        free(copy);
    }
    printf("     %d of %d damaged objects could still be loaded\n", loaded, rounds);
#if defined(__x86_64__)
    CHECK(loaded > 100 && loaded < rounds);
#endif
}
