/* llvm.h - the part of LLVM's C API that the emitter uses, opened at run time
 *
 * needs   the llvm-c headers of LLVM 19 at build time (llvm-config --includedir), nothing linked
 * gives   fr__llvm, a table of functions, filled once fr__llvm_ready() is true
 *
 * LLVM's rules that we keep: a context, its modules and a TargetMachine belong to one call of
 * ours, so to one thread; no global option is ever parsed; diagnostics go to our handler, since
 * without one LLVM prints and exits.
 */
#ifndef FR_KERNEL_LLVM_H
#define FR_KERNEL_LLVM_H

#include "kernel/kernel.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#if defined(__x86_64__)
#define FR__LLVM_NATIVE(X)                                                                     \
    X(InitializeX86TargetInfo)                                                                 \
    X(InitializeX86Target) X(InitializeX86TargetMC) X(InitializeX86AsmPrinter)
#elif defined(__aarch64__)
#define FR__LLVM_NATIVE(X)                                                                     \
    X(InitializeAArch64TargetInfo)                                                             \
    X(InitializeAArch64Target) X(InitializeAArch64TargetMC) X(InitializeAArch64AsmPrinter)
#else
#define FR__LLVM_NATIVE(X) /* no machine code here: fr__llvm_ready() says so */
#endif

#define FR__LLVM_NVPTX(X)                                                                      \
    X(InitializeNVPTXTargetInfo)                                                               \
    X(InitializeNVPTXTarget) X(InitializeNVPTXTargetMC) X(InitializeNVPTXAsmPrinter)

// clang-format off
#define FR__LLVM_FUNCTIONS(X)                                                                  \
    FR__LLVM_NATIVE(X) FR__LLVM_NVPTX(X)                                                       \
    /* contexts, modules, messages */                                                          \
    X(GetVersion) X(ContextCreate) X(ContextDispose) X(ContextSetDiagnosticHandler)            \
    X(GetDiagInfoSeverity) X(GetDiagInfoDescription) X(DisposeMessage)                         \
    X(ModuleCreateWithNameInContext) X(DisposeModule) X(SetTarget) X(SetDataLayout)            \
    X(PrintModuleToString) X(VerifyModule)                                                     \
    /* machines */                                                                             \
    X(GetDefaultTargetTriple) X(GetHostCPUName) X(GetHostCPUFeatures)                          \
    X(GetTargetFromTriple) X(CreateTargetMachine) X(DisposeTargetMachine)                      \
    X(CreateTargetDataLayout) X(CopyStringRepOfTargetData) X(DisposeTargetData)                \
    X(TargetMachineEmitToMemoryBuffer) X(GetBufferStart) X(GetBufferSize)                      \
    X(DisposeMemoryBuffer)                                                                     \
    /* types and constants */                                                                  \
    X(Int1TypeInContext) X(Int8TypeInContext) X(Int16TypeInContext) X(Int32TypeInContext)      \
    X(Int64TypeInContext) X(HalfTypeInContext) X(FloatTypeInContext)                           \
    X(DoubleTypeInContext) X(VoidTypeInContext) X(PointerTypeInContext) X(VectorType)          \
    X(ArrayType2) X(FunctionType) X(StructTypeInContext) X(TypeOf) X(ConstInt)                 \
    X(ConstNull) X(ConstVector) X(ConstBitCast) X(GetUndef) X(IsConstant) X(GetPoison)         \
    /* functions, attributes, metadata */                                                      \
    X(AddFunction) X(GetParam) X(SetFunctionCallConv) X(AddAttributeAtIndex)                   \
    X(CreateStringAttribute) X(CreateEnumAttribute) X(GetEnumAttributeKindForName)             \
    X(CreateTypeAttribute) X(AddCallSiteAttribute) X(LookupIntrinsicID)                        \
    X(GetIntrinsicDeclaration) X(IntrinsicGetType) X(AddGlobalInAddressSpace)                  \
    X(SetInitializer) X(SetGlobalConstant) X(SetLinkage) X(SetAlignment) X(ValueAsMetadata)    \
    X(MetadataAsValue)                                                                         \
    X(MDNodeInContext2) X(MDStringInContext2) X(GetMDKindIDInContext) X(SetMetadata)           \
    X(AddNamedMetadataOperand)                                                                 \
    /* code */                                                                                 \
    X(CreateBuilderInContext) X(DisposeBuilder) X(PositionBuilderAtEnd) X(GetInsertBlock)      \
    X(AppendBasicBlockInContext) X(GetNextBasicBlock) X(AddIncoming) X(BuildPhi)               \
    X(BuildBr) X(BuildCondBr) X(BuildRetVoid) X(BuildCall2) X(BuildAlloca) X(BuildLoad2)       \
    X(BuildStore) X(BuildGEP2) X(BuildAdd) X(BuildSub) X(BuildMul) X(BuildSDiv)                \
    X(BuildUDiv) X(BuildSRem) X(BuildURem) X(BuildNeg) X(BuildFAdd) X(BuildFSub)               \
    X(BuildFMul) X(BuildFDiv) X(BuildFNeg) X(BuildAnd) X(BuildOr) X(BuildXor) X(BuildNot)      \
    X(BuildShl) X(BuildLShr) X(BuildAShr) X(BuildICmp) X(BuildFCmp) X(BuildSelect)             \
    X(BuildFreeze) X(BuildTrunc) X(BuildZExt) X(BuildSExt) X(BuildFPTrunc) X(BuildFPExt)       \
    X(BuildFPToSI) X(BuildFPToUI) X(BuildSIToFP) X(BuildUIToFP) X(BuildBitCast)                \
    X(BuildIntToPtr) X(BuildPtrToInt) X(BuildAddrSpaceCast) X(BuildInsertElement)              \
    X(BuildExtractElement) X(BuildShuffleVector)
// clang-format on

typedef struct fr__llvm_functions {
#define X(name) __typeof__(LLVM##name) *name;
    FR__LLVM_FUNCTIONS(X)
#undef X
} fr__llvm_functions;
extern fr__llvm_functions fr__llvm;

/* The machine code is made for; found once. Tests may force another x86 processor by name and
 * features ("x86-64-v3", "+avx2,..."); NULL goes back to the host. Not while others compile. */
typedef struct fr__llvm_machine {
    const char *triple, *cpu, *features;
    bool fma, f16c, avx2, avx512; /* avx512: F, BW, DQ and VL */
} fr__llvm_machine;
const fr__llvm_machine *fr__llvm_host(void); /* after fr__llvm_ready() */
void fr__llvm_force(const char *cpu, const char *features);
extern bool fr__llvm_verify; /* check every module before code generation; tests set it */

/* One call's context, module and machine. */
typedef struct fr__llvm_session {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMTargetMachineRef machine;
    const char *pooled; /* the processor of a machine that goes back to a pool, or NULL */
    char *complaint;    /* the first error that LLVM reported, from fr__malloc */
    int sm;             /* of a GPU, 0 for the host */
} fr__llvm_session;
/* lasting: `cpu` is the very pointer at every call for it, so its machine may be used again. */
int fr__llvm_open(fr__llvm_session *s, const char *triple, const char *cpu,
                  const char *features, bool lasting);
void fr__llvm_close(fr__llvm_session *s);
/* The module as object code, assembly or IR text: fr__malloc'ed, with a NUL after it. */
enum { FR__LLVM_OBJECT, FR__LLVM_ASSEMBLY, FR__LLVM_TEXT };
char *fr__llvm_write(fr__llvm_session *s, int as, size_t *bytes);

/* The bodies of the two targets: build the function into s->module. 0 or -1. */
int fr__llvm_build_cpu(fr__llvm_session *s, const fr__kernel *k, const char *name);
/* many: launches; host: NULL, or what the code calls where it is to run on the host. */
int fr__llvm_build_ptx(fr__llvm_session *s, const fr__kernel *k, const char *name, bool many,
                       const fr__ptx_host *host);
int fr__llvm_open_ptx(fr__llvm_session *s, int sm);

#endif
