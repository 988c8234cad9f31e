"""A network on a microcontroller: trained here, written as C, run by an emulated Cortex-M4.

    python examples/cortex_m4.py                # needs arm-none-eabi-gcc and qemu-system-arm for the last two steps
    python examples/cortex_m4.py --bits 8       # integers

The network classifies the embedded digits. Without the compiler or the emulator, the script says what is missing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cuslayer as cs

DEVICE = Path(__file__).parent / "cortex_m4"
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
# Without loops as calls of memset and memcpy, the program needs no C library.
OPTIONS = "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard -O2 -std=gnu99 -ffreestanding -nostdlib"
OPTIONS += " -fno-tree-loop-distribute-patterns -ffunction-sections -Wl,--gc-sections"


def trained(limit: int, epochs: int) -> tuple[cs.Sequential, cs.Loader]:
    """Return a network after some epochs, and its recordings, one a batch."""
    cs.seed(0)
    train = cs.Loader(cs.Digits("train"), 16, shuffle=True, steps=100, dt=3.0)
    srm = cs.SRM(dt=3.0)
    net = cs.Network("34x34x2-4a-32-10", srm)
    trainer = cs.Trainer(net, cs.SpikeCountLoss(srm), cs.Adam(net.parameters(), lr=0.01))
    for _ in range(epochs):
        score = trainer.train(train, steps=limit)
        print(f"accuracy of training {score.accuracy:.1%}")
    return net.eval(), cs.Loader(cs.Digits("test"), 1, steps=100, dt=3.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, export, build and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, help="integer weights of so many bits")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, help="steps of an epoch")
    parser.add_argument("--out", type=Path, default=Path("firmware"), help="folder of the files")
    options = parser.parse_args(arguments)
    net, recordings = trained(options.limit, options.epochs)
    x, _ = recordings[0]
    options.out.mkdir(exist_ok=True)
    exported = cs.export_c(
        net if options.bits is None else cs.quantize(net, x, weights=options.bits), options.out / "net", recording=x
    )
    print(f"RAM {exported.memory:,} bytes, flash {exported.flash:,} bytes, {exported.additions:.0f} additions a step")
    program = options.out / "device.elf"
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        print(f"not run: {' and '.join(missing)} missing")
        return
    files = [
        DEVICE / "device.c",
        exported.source,
        "-I",
        options.out,
        "-T",
        DEVICE / "device.ld",
        "-lgcc",
        "-o",
        program,
    ]
    subprocess.run([COMPILER, *OPTIONS.split(), *map(str, files)], check=True)
    subprocess.run(["arm-none-eabi-size", str(program)], check=True)
    machine = "-M mps2-an386 -nographic -semihosting -kernel"
    subprocess.run([EMULATOR, *machine.split(), str(program)], check=True, timeout=300)


if __name__ == "__main__":
    main()
