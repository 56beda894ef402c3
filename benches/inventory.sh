#!/bin/bash
# inventory of a server with eight cards and 300 other functions, against `lspci -vvv` and `find` over the same tree:
# processor time of each, in turn, as medians. Usage: benches/inventory.sh [ROUNDS]. Needs pciutils and python3.
set -euo pipefail
rounds=${1:-15}
program=${PROGRAM:-target/release/gpucloud-install}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

python3 - "$tree" <<'PYTHON'
import os, sys
root = sys.argv[1]
bus = f"{root}/sys/bus/pci/devices"
os.makedirs(bus)
os.makedirs(f"{root}/proc")
os.makedirs(f"{root}/sys/firmware/acpi/tables")
open(f"{root}/sys/firmware/acpi/tables/DMAR", "w").close()
open(f"{root}/proc/cmdline", "w").write("root=/dev/sda2 intel_iommu=on iommu=pt\n")
group = 0

def function(bridge, address, cls, ids, subsystem, driver):
    global group
    group += 1
    vendor, device = ids.split(":")
    where = f"{root}/sys/devices/pci0000:{address[5:7]}/{bridge}/{address}"
    os.makedirs(where)
    put = lambda name, text: open(f"{where}/{name}", "w").write(text + "\n")
    put("uevent", f"DRIVER={driver}\nPCI_CLASS={cls:X}\nPCI_ID={ids.upper()}\nPCI_SUBSYS_ID={subsystem.upper()}")
    put("vendor", f"0x{vendor}"); put("device", f"0x{device}"); put("class", f"0x{cls:06x}")
    put("subsystem_vendor", "0x10de"); put("subsystem_device", "0x18be")
    put("irq", "16"); put("numa_node", str(group % 2)); put("boot_vga", "0")
    put("current_link_speed", "16.0 GT/s PCIe"); put("current_link_width", "16")
    put("max_link_speed", "32.0 GT/s PCIe"); put("max_link_width", "16")
    put("resource", "\n".join(f"0x{0x380000000000 + group * (1 << 36) + n * (1 << 32):016x} 0x{0x380000000000 + group * (1 << 36) + n * (1 << 32) + 0xffffff:016x} 0x000000000014220c" for n in range(3)) + "\n" + "\n".join(["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 10))
    config = bytearray(256)
    config[0:4] = bytes.fromhex(vendor)[::-1] + bytes.fromhex(device)[::-1]
    config[9:12] = cls.to_bytes(3, "little")
    open(f"{where}/config", "wb").write(config)
    os.makedirs(f"{root}/sys/kernel/iommu_groups/{group}/devices")
    os.symlink(f"../../../../kernel/iommu_groups/{group}", f"{where}/iommu_group")
    os.symlink(os.path.relpath(where, bus), f"{bus}/{address}")

for n in range(8):
    function(f"0000:{0x10 + n:02x}:01.0", f"0000:{0x10 + n:02x}:02.0", 0x030200, "10de:2335", "10de:18be", "vfio-pci")
for n in range(300):
    at = f"0000:{0x40 + n // 8:02x}"
    function(f"{at}:00.0", f"{at}:01.{n % 8}", 0x020000, "8086:159b", "8086:0001", "ice")
PYTHON

python3 - "$program" "$tree" "$rounds" <<'PYTHON'
import os, resource, statistics, subprocess, sys
program, tree, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])

def spent(commands):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

ours = [[program, "--sysroot", tree, "inventory"]]
theirs = [["lspci", "-A", "linux-sysfs", "-O", f"sysfs.path={tree}/sys/bus/pci", "-vvv"], ["find", f"{tree}/sys", "-name", "uevent"]]
times = {"ours": [], "theirs": []}
for _ in range(rounds):
    times["ours"].append(spent(ours))
    times["theirs"].append(spent(theirs))
one, other = (statistics.median(times[name]) for name in ("ours", "theirs"))
print(f"inventory {one:.1f} ms, lspci -vvv and find {other:.1f} ms of processor time: ratio {one / other:.2f}")
PYTHON
