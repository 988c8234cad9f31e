// What the kernels use of CUDA, for a compiler of C++17 on the CPU. tests/emulator.py pastes this in front of them.
//
// A launch runs every thread of every block to its end, one after another: right for kernels without barriers only.

#include <cmath>
#include <cstddef>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict

namespace emulator {
struct Index {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};
}  // namespace emulator

static thread_local emulator::Index threadIdx, blockIdx, blockDim, gridDim;

using std::exp;
using std::fabs;
using std::sqrt;

template <typename Number>
inline Number __ldg(const Number *address)
{
    return *address;
}

namespace emulator {
// As cuLaunchKernel has it: the arguments are addresses, and each is read as the type of its parameter.
template <typename... Types, std::size_t... Places>
void run(
    void (*kernel)(Types...),
    unsigned grid,
    unsigned block,
    void **arguments,
    std::index_sequence<Places...>)
{
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x)
            kernel(*static_cast<Types *>(arguments[Places])...);
}

template <typename... Types>
void launch(void (*kernel)(Types...), unsigned grid, unsigned block, void **arguments)
{
    run(kernel, grid, block, arguments, std::index_sequence_for<Types...>{});
}
}  // namespace emulator
