// Subnormal numbers, as the option -ftz=true of CUDA's compiler has them.

#pragma once

#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace emulator {

// Flushes subnormal numbers to 0, as arguments and as results of arithmetic, as long as it lives.
class Flushing {
public:
#ifdef __SSE__
    static constexpr bool possible = true;

    explicit Flushing(bool flush)
    {
        constexpr unsigned FLUSH_TO_ZERO = 1 << 15, DENORMALS_ARE_ZERO = 1 << 6;
        if (flush)
            _mm_setcsr(before_ | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    }

    ~Flushing() { _mm_setcsr(before_); }

private:
    const unsigned before_ = _mm_getcsr();
#else
    static constexpr bool possible = false;

    explicit Flushing(bool) {}
#endif
};

}  // namespace emulator
