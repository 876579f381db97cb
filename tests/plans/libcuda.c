// Stands in for NVIDIA's driver library: the functions that masklet calls, with the types of cuda.h, over the memory of the host. Copies to the
// host happen when the stream is synchronised, as they may on a GPU; memory can be used only in a current context.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef unsigned long long CUdeviceptr;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201 };
enum { LARGEST = 1 << 28, PENDING = 64 };

static int context, current;
static struct { void *to; CUdeviceptr from; size_t bytes; } pending[PENDING];
static int waiting, live;

static int number(const char *variable, int otherwise) { return getenv(variable) ? atoi(getenv(variable)) : otherwise; }
int live_allocations(void) { return live; }  // for tests

CUresult cuInit(unsigned flags) { return getenv("STUB_NO_DEVICE") ? NO_DEVICE : flags ? INVALID_VALUE : SUCCESS; }
CUresult cuGetErrorString(CUresult code, const char **text) {
  *text = code == NO_DEVICE ? "no CUDA-capable device is detected" : code == OUT_OF_MEMORY ? "out of memory" : "other";
  return SUCCESS;
}
CUresult cuDriverGetVersion(int *version) { *version = number("STUB_DRIVER", 13040); return SUCCESS; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
CUresult cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return SUCCESS; }
CUresult cuDeviceGetName(char *name, int length, int device) {
  if (device != 7) return INVALID_VALUE;
  strncpy(name, getenv("STUB_NAME") ? getenv("STUB_NAME") : "Stub GPU", length);
  return SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = number("STUB_CAPABILITY", 89);  // 10 x major + minor
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
  return device == 7 ? SUCCESS : INVALID_VALUE;
}
CUresult cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; return device == 7 ? SUCCESS : INVALID_VALUE; }
CUresult cuCtxSetCurrent(void *made) { current = made == &context; return SUCCESS; }
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  if (!current) return INVALID_CONTEXT;
  if (!bytes || bytes > LARGEST) return bytes ? OUT_OF_MEMORY : INVALID_VALUE;
  *address = (CUdeviceptr)(uintptr_t)malloc(bytes);
  live++;
  return SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr address) { free((void *)(uintptr_t)address); live--; return SUCCESS; }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream) {
  if (!stream) return INVALID_VALUE;
  memcpy((void *)(uintptr_t)to, from, bytes);
  return SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream) {
  if (!stream || waiting == PENDING) return INVALID_VALUE;
  pending[waiting].to = to; pending[waiting].from = from; pending[waiting++].bytes = bytes;
  return SUCCESS;
}
CUresult cuStreamCreate(void **stream, unsigned flags) { *stream = malloc(8); return flags == 1 ? SUCCESS : INVALID_VALUE; }
CUresult cuStreamSynchronize(void *stream) {
  if (!stream) return INVALID_VALUE;
  while (waiting) { waiting--; memcpy(pending[waiting].to, (void *)(uintptr_t)pending[waiting].from, pending[waiting].bytes); }
  return SUCCESS;
}
