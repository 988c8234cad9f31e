// The orders in which threads and blocks run.

#pragma once

#include <algorithm>
#include <random>
#include <vector>

namespace machine {

// The numbers 0 to count - 1, ascending, descending, or shuffled.
class Order {
public:
    void begin(unsigned count, unsigned order)
    {
        order_ = order;
        numbers_.resize(count);
        for (unsigned i = 0; i < count; ++i)
            numbers_[i] = order == 1 ? count - 1 - i : i;
        again();
    }

    // A shuffled order is another one after every barrier.
    void again()
    {
        if (order_ == 2)
            std::shuffle(numbers_.begin(), numbers_.end(), random_);
    }

    auto begin() const { return numbers_.begin(); }
    auto end() const { return numbers_.end(); }

private:
    unsigned order_ = 0;
    std::vector<unsigned> numbers_;
    std::mt19937 random_{20180907};
};

}  // namespace machine
