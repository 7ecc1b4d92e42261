/* run.h - every graph on the first GPU */
#ifndef FR_PTX_RUN_H
#define FR_PTX_RUN_H

#define PTX_ENTRY "kernel" /* name of the entry in every file */
enum { RUN_NO_GPU = 77 };

/* Prints a table and writes it as markdown to `results`, with the text of the file `notes` at
 * its end; each may be NULL. 0; 1 if a result was wrong or could not be had; RUN_NO_GPU. */
int run_all(const char *results, const char *notes);

#endif
