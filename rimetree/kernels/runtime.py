"""What is left of numba's run-time library in object files, for LLVM: allocation, and shapes of arrays."""

RUNTIME = """
declare ptr @malloc(i64)
declare void @free(ptr)

; Memory: an information block (references first, the address of the data fourth), then the data.
; They begin at multiples of 64 bytes, so that no vector of eight float64 crosses a line of the cache, which would halve the speed
; of each access.

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %whole = add i64 %size, 128
  %info = call ptr @malloc(i64 %whole)
  %none = icmp eq ptr %info, null
  br i1 %none, label %fail, label %fill
fill:
  store i64 1, ptr %info
  %at = ptrtoint ptr %info to i64
  %beyond = add i64 %at, 127
  %even = and i64 %beyond, -64
  %data = inttoptr i64 %even to ptr
  %place = getelementptr i64, ptr %info, i64 3
  store ptr %data, ptr %place
  ret ptr %info
fail:
  ret ptr null
}

define ptr @NRT_MemInfo_alloc(i64 %size) {
  %info = call ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 64)
  ret ptr %info
}

define void @NRT_MemInfo_call_dtor(ptr %info) {
  call void @free(ptr %info)
  ret void
}

define ptr @NRT_Allocate(i64 %size) {
  %room = call ptr @malloc(i64 %size)
  ret ptr %room
}

define void @NRT_Free(ptr %room) {
  call void @free(ptr %room)
  ret void
}

; Whether an array in C order, as all that are reshaped without copying are here, can be, and the strides.

define i32 @numba_attempt_nocopy_reshape(i64 %n, ptr %dims, ptr %strides, i64 %m, ptr %new, ptr %out, i64 %size, i32 %fortran) {
  %other = icmp ne i32 %fortran, 0
  br i1 %other, label %fail, label %next
next:
  %i = phi i64 [ %n, %0 ], [ %k, %step ]
  %wanted = phi i64 [ %size, %0 ], [ %wider, %step ]
  %k = sub i64 %i, 1
  %end = icmp eq i64 %i, 0
  br i1 %end, label %fill, label %step0
step0:
  %d = getelementptr i64, ptr %dims, i64 %k
  %dim = load i64, ptr %d
  %s = getelementptr i64, ptr %strides, i64 %k
  %stride = load i64, ptr %s
  %wider = mul i64 %wanted, %dim
  %tight = icmp eq i64 %stride, %wanted
  %one = icmp eq i64 %dim, 1
  %good = or i1 %tight, %one
  br i1 %good, label %step, label %fail
step:
  br label %next
fill:
  %j = phi i64 [ %m, %next ], [ %l, %put ]
  %step1 = phi i64 [ %size, %next ], [ %larger, %put ]
  %l = sub i64 %j, 1
  %done = icmp eq i64 %j, 0
  br i1 %done, label %success, label %put
put:
  %o = getelementptr i64, ptr %out, i64 %l
  store i64 %step1, ptr %o
  %e = getelementptr i64, ptr %new, i64 %l
  %extent = load i64, ptr %e
  %larger = mul i64 %step1, %extent
  br label %fill
success:
  ret i32 1
fail:
  ret i32 0
}

; numba words some errors with lists and Python objects: there are none here, the status is enough.

define ptr @NRT_MemInfo_new_varsize_dtor(i64 %size, ptr %dtor) {
  ret ptr null
}

define ptr @NRT_MemInfo_varsize_realloc(ptr %info, i64 %size) {
  ret ptr null
}

define ptr @numba_runtime_build_excinfo_struct(ptr %struct, ptr %arguments) {
  ret ptr null
}

define ptr @numba_unpickle(ptr %data, i32 %size, ptr %digest) {
  ret ptr null
}
"""
