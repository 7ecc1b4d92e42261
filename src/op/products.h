/* products.h - the product that tensordot, inner and einsum are made of */
#ifndef FR_PRODUCTS_H
#define FR_PRODUCTS_H

#include "op/op.h"

/* a [batch, rows, k] and b [batch, columns, k] give [batch, rows, columns]: nbatch axes, any number
 * of rows and columns, nk axes that are summed (none: all products). Of one dtype, which is the
 * result's. */
fr_array *fr__product(fr_array *a, fr_array *b, int nbatch, int nk);

#endif
