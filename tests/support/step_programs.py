"""Neurons as programs of a step, and plain reverse sweeps through them: each assignment and its adjoint."""

from __future__ import annotations

import numpy as np


def slope(neuron, u):
    """Return ``dt rho(u)`` of SLAYER's surrogate."""
    width = neuron.tau_rho * neuron.theta
    return neuron.dt * neuron.scale_rho / width * np.exp(-np.abs(u - neuron.theta) / width)


def leaky(x, i_keep, v_keep, theta, reset):
    """Return the current, the voltage, the spikes and the voltage after the reset of each step."""
    current, voltage = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    steps = []
    for drive in x:
        current = i_keep * current + drive
        before = v_keep * voltage + current
        spikes = before >= theta
        if reset == "zero":
            voltage = np.where(spikes, 0.0, before)
        elif reset == "subtract":
            voltage = np.where(spikes, before - theta, before)
        else:
            voltage = before
        steps.append((current, before, spikes, voltage))
    return [np.array(part) for part in zip(*steps, strict=True)]


def leaky_reverse(x, g, i_keep, v_keep, neuron, *, graded=False):
    """Return the gradients of x, i_keep and v_keep, the last two for each neuron and sample."""
    current, u, spikes, after = leaky(x, i_keep, v_keep, neuron.theta, neuron.reset)
    zeros = np.zeros(x.shape[1:])
    of_x, of_i_keep, of_v_keep = np.zeros(x.shape), zeros.copy(), zeros.copy()
    of_current, of_after = zeros.copy(), zeros.copy()
    for t in reversed(range(len(x))):
        # output = s, or s u
        of_s = g[t] * (u[t] if graded else 1.0)
        of_u = g[t] * spikes[t] if graded else zeros.copy()
        # after = u - s u, or u - theta s, or u
        if neuron.gradient == "slayer" or neuron.reset == "none":
            of_u = of_u + of_after
        elif neuron.reset == "zero":
            of_u = of_u + of_after * (1.0 - spikes[t])
            of_s = of_s - of_after * u[t]
        else:
            of_u = of_u + of_after
            of_s = of_s - of_after * neuron.theta
        # s = step(u - theta)
        of_u = of_u + slope(neuron, u[t]) * of_s
        # u = v_keep after[t - 1] + current
        of_v_keep += of_u * (after[t - 1] if t else 0.0)
        of_after = v_keep * of_u
        of_current = of_current + of_u
        # current = i_keep current[t - 1] + x
        of_i_keep += of_current * (current[t - 1] if t else 0.0)
        of_x[t] = of_current
        of_current = i_keep * of_current
    return of_x, of_i_keep, of_v_keep


def adaptive(x, keeps, neuron):
    """Return potential, spikes, current, voltage, rise, refraction, and the last two after the step, of each step."""
    i_keep, v_keep, h_keep, r_keep = keeps
    current, voltage, risen, refraction = (np.zeros(x.shape[1:]) for _ in range(4))
    steps = []
    for drive in x:
        current = i_keep * current + drive
        voltage = v_keep * voltage + current
        above = h_keep * risen
        held = r_keep * refraction
        u = voltage - held - above
        s = u >= neuron.theta
        risen = np.where(s, above + neuron.rise, above)
        refraction = np.where(s, held + neuron.scale_ref * (neuron.theta + above), held)
        steps.append((u, s, current, voltage, above, held, risen, refraction))
    return [np.array(part) for part in zip(*steps, strict=True)]


def adaptive_reverse(x, g, keeps, neuron, *, graded=False, since=0):
    """Return the gradients of x and of the shares, by neuron and sample, of the steps from `since` on."""
    u, s, current, voltage, above, _, risen, refraction = adaptive(x, keeps, neuron)
    zeros = np.zeros(x.shape[1:])
    of_x, of_keeps = np.zeros(x.shape), [zeros.copy() for _ in range(4)]
    of_current, of_voltage, of_risen, of_refraction = (zeros.copy() for _ in range(4))
    for t in reversed(range(since, len(x))):
        of_s = g[t] * (u[t] if graded else 1.0)
        of_u = g[t] * s[t] if graded else zeros.copy()
        # risen = above + s rise;  refraction = held + s scale_ref (theta + above)
        of_above = of_risen + of_refraction * s[t] * neuron.scale_ref
        of_held = of_refraction.copy()
        if neuron.gradient == "exact":
            of_s = of_s + of_risen * neuron.rise
            of_s = of_s + of_refraction * neuron.scale_ref * (neuron.theta + above[t])
        # s = step(u - theta)
        of_u = of_u + slope(neuron, u[t]) * of_s
        # u = voltage - held - above
        of_voltage = of_voltage + of_u
        of_held = of_held - of_u
        of_above = of_above - of_u
        # Each state is a share of what was after the step before.
        of_current = of_current + of_voltage
        of_x[t] = of_current
        for number, (error, was) in enumerate(
            [(of_current, current), (of_voltage, voltage), (of_above, risen), (of_held, refraction)]
        ):
            of_keeps[number] += error * (was[t - 1] if t else 0.0)
        of_current, of_voltage = keeps[0] * of_current, keeps[1] * of_voltage
        of_risen, of_refraction = keeps[2] * of_above, keeps[3] * of_held
    return of_x, *of_keeps


def resonate(x, w, neuron):
    """Return the complex state before the reset, the spikes, and the state after it, of each step."""
    after = np.zeros(x.shape[1:], complex)
    steps = []
    for drive in x:
        # The products of complex numbers, part by part, as a kernel adds them.
        re = w.real * after.real - w.imag * after.imag + drive
        im = w.imag * after.real + w.real * after.imag
        s = im >= neuron.theta
        before = re + 1j * im
        left = {
            "izhikevich": 1j * neuron.theta + 0 * before,
            "zero": 0 * before,
            "subtract": re + 1j * (im - neuron.theta),
            "none": before,
        }[neuron.reset]
        after = np.where(s, left, before)
        steps.append((before, s, after))
    return [np.array(part) for part in zip(*steps, strict=True)]


def sigma_delta(x, theta, activation, sums):
    """Return the sum, the change, whether it is sent and what receivers know after each step."""
    total, known = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    steps = []
    for drive in x:
        total = total + drive if sums else drive
        change = (np.maximum(total, 0.0) if activation == "relu" else total) - known
        sent = np.abs(change) >= theta
        known = np.where(sent, change + known, known)
        steps.append((total, change, sent, known))
    return [np.array(part) for part in zip(*steps, strict=True)]


def sigma_delta_reverse(x, g, neuron):
    """Return the gradient of x for that of what is sent."""
    total, change, sent, _ = sigma_delta(x, neuron.theta, neuron.activation, neuron.sums)
    of_x, of_total, of_known = np.zeros(x.shape), np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    for t in reversed(range(len(x))):
        # known = known[t - 1] + output; output = change sent; sent = step(|change| - theta)
        of_output = g[t] + of_known
        if neuron.gradient == "slayer":
            of_change = of_output
        else:
            of_sent = of_output * change[t]
            of_change = of_output * sent[t] + of_sent * slope(neuron, np.abs(change[t])) * np.sign(change[t])
        # change = active - known[t - 1]
        of_known = of_known - of_change
        passes = total[t] > 0 if neuron.activation == "relu" else np.ones(total[t].shape)
        of_total = of_total + of_change * passes
        of_x[t] = of_total
        if not neuron.sums:
            of_total = np.zeros(of_total.shape)
    return of_x
