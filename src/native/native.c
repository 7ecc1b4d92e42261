/* native.c - which routine an operation is */
#include "native/native.h"

const fr__native *fr__native_of(int op)
{
    switch (op) {
    case FR__OP_CONTRACT: return &fr__native_contract;
    case FR__OP_CONV: return &fr__native_conv;
    case FR__OP_CONV_FILTER: return &fr__native_conv_filter;
    case FR__OP_ATTENTION: return &fr__native_attention;
    case FR__OP_ATTENTION_GRAD: return &fr__native_attention_grad;
    case FR__OP_SCATTER: return &fr__native_scatter;
    case FR__OP_SCAN: return &fr__native_scan;
    case FR__OP_SORT: return &fr__native_sort;
    case FR__OP_SELECT: return &fr__native_select;
    case FR__OP_SEARCH: return &fr__native_search;
    default: return NULL;
    }
}
