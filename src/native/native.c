/* native.c - which routine an operation is */
#include "native/native.h"

const fr__native *fr__native_of(int op)
{
    switch (op) {
    case FR__OP_CONTRACT: return &fr__native_contract;
    default: return NULL;
    }
}
