// Several arrays as one argument of a kernel, passed by value: a launch needs no table in memory, and a captured graph has
// the addresses. The argument is a list of arrays; kernels/cuda/compile.py makes the struct. All arguments of a kernel
// together may have 4,096 bytes.

constexpr int ARRAYS = 48;

template <typename Number>
struct Arrays {
    Number *at[ARRAYS];  // null where there is none
    long long size[ARRAYS];
};

// A block has THREADS threads and works on a tile of one array; a thread takes EACH elements, THREADS apart. The tiles of
// the arrays are numbered one after another.
constexpr int THREADS = 256;
constexpr int EACH = 4;
constexpr long long TILE = THREADS * EACH;

struct Tile {
    int array = 0;    // its number
    long long size;   // of the array
    long long begin;  // its first element; not less than size for a block without a tile

    template <typename Number>
    __device__ __forceinline__ Tile(const Arrays<Number> &arrays)
    {
        long long tile = blockIdx.x;
#pragma unroll 1
        for (; array < ARRAYS - 1; ++array) {
            const long long tiles = (arrays.size[array] + TILE - 1) / TILE;
            if (tile < tiles)
                break;
            tile -= tiles;
        }
        size = arrays.size[array];
        begin = tile * TILE;
    }

    __device__ __forceinline__ bool exists() const { return begin < size; }

    // Calls use(i, j) for each element j of the thread, its i-th one.
    template <typename Use>
    __device__ __forceinline__ void visit(Use use) const
    {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = begin + threadIdx.x + i * THREADS;
            if (j < size)
                use(i, j);
        }
    }
};
