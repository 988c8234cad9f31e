// The decision of the network: spike counts of each class, and the time of decision, as cuslayer/loss/decision.py.
"use strict";

class Decision {
  // Classes are groups of neighbouring channels of the last layer, whose counts are averaged, or single neurons. Delays
  // are those after that layer.
  constructor(model, { classes, delays }) {
    Object.assign(this, { model, classes, delays });
    this.layer = model.layers.length - 1;
    this.each = model.neurons(this.layer) / classes;
  }

  // Return the mean spike count of each class up to a step, that step included.
  counts(last) {
    const { starts, times } = this.model.spikes(this.layer), counts = new Array(this.classes).fill(0);
    const channels = this.model.layers[this.layer].shape.at(-1), wide = channels / this.classes;
    for (let n = 0; n < starts.length - 1; n++) {
      const lag = this.delays.reduce((sum, { steps }) => sum + numbers(steps)[n], 0);
      for (let i = starts[n]; i < starts[n + 1]; i++) {
        const time = times[i] + lag;
        if (time >= 0 && time <= last) counts[Math.floor((n % channels) / wide)]++;
      }
    }
    return counts.map((count) => count / this.each);
  }

  // Return the class of most spikes up to a step; of equal counts, the lowest class. Without spikes it is -1.
  at(last) {
    const counts = this.counts(last), most = Math.max(...counts);
    return most > 0 ? counts.indexOf(most) : -1;
  }

  // Return {winner, counts, time}: the class of most spikes, and the step from which it leads to the end. Without
  // spikes the winner is -1 and the time null.
  final() {
    const { steps } = this.model, counts = this.counts(steps - 1), winner = this.at(steps - 1);
    let time = winner < 0 ? null : steps - 1;
    while (time > 0 && this.at(time - 1) === winner) time--;
    return { winner, counts, time };
  }
}
