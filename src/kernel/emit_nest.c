/* emit_nest.c - words, addresses and plain loops: the part of the nest that targets share
 *
 * No LLVM pass will hoist anything, so it is done here: words and buffer pointers are made at
 * entry; before each loop every address in it is summed up as far as its terms are known.
 */
#include "kernel/emit.h"

void fr__emit_begin_body(fr__emit *e)
{
    LLVMBasicBlockRef entry = fr__emit_block(e, "entry"), body = fr__emit_block(e, "");
    e->entry = fr__llvm.CreateBuilderInContext(e->context);
    fr__llvm.PositionBuilderAtEnd(e->entry, entry);
    fr__emit_at(e, body);
}

void fr__emit_end_body(fr__emit *e)
{
    /* The second block was appended right after the entry block. */
    LLVMBasicBlockRef body = fr__llvm.GetNextBasicBlock(fr__llvm.GetInsertBlock(e->entry));
    fr__llvm.BuildRetVoid(e->at);
    fr__llvm.BuildBr(e->entry, body);
}

LLVMValueRef fr__emit_word(fr__emit *e, int n)
{
    if (!e->words[n]) {
        value index = c64(e, n);
        value where = fr__llvm.BuildGEP2(e->entry, e->i64, e->word_base, &index, 1, "");
        e->words[n] = fr__llvm.BuildLoad2(e->entry, e->i64, where, "");
    }
    return e->words[n];
}

static value base(fr__emit *e, int buf)
{
    if (!e->bases[buf]) {
        const fr__kbuf *b = &e->k->bufs[buf];
        value w = fr__emit_word(e, b->word);
        e->bases[buf] = b->role == FR__BUF_SCRATCH
                            ? fr__llvm.BuildGEP2(e->entry, e->i8, e->scratch, &w, 1, "")
                            : fr__llvm.BuildIntToPtr(e->entry, w, e->data, "");
    }
    return e->bases[buf];
}

int fr__emit_dtype(const fr__emit *e, int i)
{
    return e->k->bufs[e->k->access[e->k->ins[i].imm].buf].dtype;
}

void fr__emit_advance(fr__emit *e, int i)
{
    const fr__kins *ins = &e->k->ins[i];
    const fr__kaccess *access = &e->k->access[ins->imm];
    struct fr__address *address = &e->address[i];
    value offset = NULL;
    if (!address->at)
        address->at = base(e, access->buf);
    for (int n = 0; n < access->nterm; n++) {
        value index = e->axis_index[access->term[n].axis];
        if (!index || address->added >> n & 1)
            continue;
        value term = mul(e, index, fr__emit_word(e, access->term[n].word));
        offset = offset ? add(e, offset, term) : term;
        address->added |= UINT64_C(1) << n;
    }
    value b = ins->b < 0 || e->place[ins->b].varying ? NULL : fr__emit_values(e, ins->b)[0];
    if (b && !(address->added >> 63)) {
        offset = offset ? add(e, offset, b) : b;
        address->added |= UINT64_C(1) << 63;
    }
    if (offset)
        address->at = gep(e, fr__emit_storage(e, fr__emit_dtype(e, i), 0), address->at, offset);
}

void fr__emit_hoist(fr__emit *e, int loop)
{
    for (int i = loop + 1; i < e->place[loop].end; i++)
        if (e->k->ins[i].op == FR__K_LOAD || e->k->ins[i].op == FR__K_STORE)
            fr__emit_advance(e, i);
}

bool fr__emit_address_complete(const fr__emit *e, int i)
{
    const fr__kins *ins = &e->k->ins[i];
    uint64_t terms = (UINT64_C(1) << e->k->access[ins->imm].nterm) - 1;
    uint64_t added = e->address[i].added;
    return (added & terms) == terms && (ins->b < 0 || added >> 63);
}

void fr__emit_bounds(fr__emit *e, const fr__kaxis *axis, LLVMValueRef *low, LLVMValueRef *high)
{
    if (axis->bind == FR__BIND_PAR || axis->bind == FR__BIND_PARVEC) {
        *low = e->begin;
        *high = e->end;
        return;
    }
    value extent = fr__emit_word(e, axis->extent);
    *low = c64(e, 0);
    *high = extent;
    if (axis->split >= 0) {
        value block = fr__emit_word(e, axis->block);
        *low = mul(e, e->axis_index[axis->split], block);
        value top = add(e, *low, block);
        *high = choose(e, icmp(e, LLVMIntSLT, top, extent), top, extent);
    }
}

int fr__emit_carried(const fr__emit *e, int loop, int *to)
{
    int n = 0;
    for (int i = loop + 1; i < e->place[loop].end; i++) {
        int acc = e->k->ins[i].a;
        if (e->k->ins[i].op != FR__K_UPD || acc > loop)
            continue;
        bool seen = false;
        for (int j = 0; j < n; j++)
            seen |= to[j] == acc;
        if (!seen)
            to[n++] = acc;
    }
    return n;
}

void fr__emit_outer_axes(fr__emit *e, value root)
{
    for (int a = 0; a < e->k->naxis; a++) {
        const fr__kaxis *axis = &e->k->axis[a];
        if (axis->bind != FR__BIND_OUTER)
            continue;
        value q = fr__llvm.BuildUDiv(e->at, root, fr__emit_word(e, axis->div), "");
        e->axis_index[a] = fr__llvm.BuildURem(e->at, q, fr__emit_word(e, axis->extent), "");
    }
}

typedef struct carry { /* a part of an accumulator through a loop */
    LLVMValueRef *now, before, phi;
} carry;

int fr__emit_loop(fr__emit *e, int loop, const fr__emit_walk *walk)
{
    int id = (int)e->k->ins[loop].imm, inside = e->place[loop].end - loop, n = 0;
    int bind = e->k->axis[id].bind;
    int *acc = fr__arena_alloc(&e->arena, (size_t)inside * sizeof *acc);
    int nacc = acc ? fr__emit_carried(e, loop, acc) : 0;
    carry *carries =
        fr__arena_alloc(&e->arena, (size_t)(nacc * e->width + 1) * sizeof *carries);
    if (!acc || !carries)
        return -1;
    LLVMBasicBlockRef before = fr__emit_here(e), body = fr__emit_block(e, "loop");
    LLVMBasicBlockRef after = fr__emit_block(e, "");
    branch(e, icmp(e, LLVMIntSLT, walk->low, walk->high), body, after);
    fr__emit_at(e, body);
    value index = fr__llvm.BuildPhi(e->at, e->i64, "");
    for (int a = 0; a < nacc; a++)
        for (int u = 0; u < walk->parts(walk->ctx, acc[a]); u++, n++) {
            value *now = &fr__emit_values(e, acc[a])[u];
            carries[n] = (carry){.now = now, .before = *now};
            *now = carries[n].phi = fr__llvm.BuildPhi(e->at, fr__llvm.TypeOf(*now), "");
        }
    if (bind == FR__BIND_PAR || bind == FR__BIND_SERIAL)
        e->axis_index[id] = index;
    if (bind == FR__BIND_PAR)
        fr__emit_outer_axes(e, index);
    walk->body(walk->ctx, loop, index);
    e->axis_index[id] = NULL;
    value next = add(e, index, walk->step);
    LLVMBasicBlockRef latch = fr__emit_here(e);
    branch(e, icmp(e, LLVMIntSLT, next, walk->high), body, after);
    fr__llvm.AddIncoming(index, (value[]){walk->low, next},
                         (LLVMBasicBlockRef[]){before, latch}, 2);
    fr__emit_at(e, after);
    for (int c = 0; c < n; c++) {
        value latest = *carries[c].now;
        fr__llvm.AddIncoming(carries[c].phi, (value[]){carries[c].before, latest},
                             (LLVMBasicBlockRef[]){before, latch}, 2);
        *carries[c].now = fr__emit_phi2(e, carries[c].before, before, latest, latch);
    }
    return 0;
}
