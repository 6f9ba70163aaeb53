"""The files of real machines that tell of their state, written below a folder.

Names and contents are as those machines show them: an Orin Nano with JetPack 6.2, a Xavier with
JetPack 5, a laptop of Intel and a desktop of AMD. A folder in the place of a file stands for a
sensor that is listed and cannot be read, as ``cv0-thermal`` of an Orin, whose read is EAGAIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

UNREADABLE = None
ZONE = "sys/class/thermal/thermal_zone"
COOLING = "sys/class/thermal/cooling_device"
HWMON = "sys/class/hwmon/hwmon"
CPUFREQ = "sys/devices/system/cpu/cpufreq/policy"

Tree = Mapping[str, str | None]


def _row(prefix: str, name: str, values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Numbered folders of one kind, each with its ``type`` and one value."""
    return {
        f"{prefix}{number}/{file}": content
        for number, (kind, value) in enumerate(values.items())
        for file, content in (("type", kind), (name, value))
    }


_STAT = """\
cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 32495
cpu0 1393280 32966 572056 13343292 6130 0 17875 0 23933 7012
intr 1462898 22 0
"""
_MEMINFO = """\
MemTotal:        7802752 kB
MemFree:          412336 kB
MemAvailable:    4913408 kB
SwapTotal:       3901376 kB
"""
_NVPMODEL = """\
###########################
#                         #
# POWER_MODEL DEFINITIONS #
#                         #
###########################

# MAXN is the NONE power model to release all constraints
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
GPU MAX_FREQ 612000000
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1

# mandatory section to configure the default mode
< PM_CONFIG DEFAULT=1 >
"""

ORIN_NANO: Tree = {
    **_row(
        ZONE,
        "temp",
        {
            "cpu-thermal": "63625",
            "gpu-thermal": "61031",
            "cv0-thermal": UNREADABLE,
            "cv1-thermal": "-256000",
            "soc0-thermal": "60812",
            "tj-thermal": "63781",
        },
    ),
    **_row(
        COOLING,
        "cur_state",
        {
            "cpufreq-cpu0": "3",  # of 30: the power mode's, no heat's
            "devfreq-17000000.gpu": "0",
            "pwm-fan": "2",
            "cpu-throttle-alert": "0",
            "gpu-throttle-alert": "1",
            "hot-surface-alert": "0",
        },
    ),
    f"{HWMON}0/name": "pwmfan",
    f"{HWMON}1/name": "ina3221",
    f"{HWMON}1/in1_label": "VDD_IN",
    f"{HWMON}1/in1_input": "5016",
    f"{HWMON}1/curr1_input": "1500",
    f"{HWMON}1/in2_label": "VDD_CPU_GPU_CV",
    f"{HWMON}1/in2_input": "5016",
    f"{HWMON}1/curr2_input": "400",
    f"{HWMON}1/in3_label": "VDD_SOC",
    f"{HWMON}1/in3_input": "5008",
    f"{HWMON}1/curr3_input": "480",
    f"{HWMON}1/in7_label": "sum of shunt voltages",
    f"{HWMON}1/in7_input": "3200",
    f"{HWMON}3/name": "soctherm_oc",
    f"{HWMON}3/oc1_event_cnt": "0",
    f"{HWMON}3/oc2_event_cnt": "15",
    f"{HWMON}3/oc3_event_cnt": "37",
    f"{HWMON}3/oc1_throt_en": "1",
    "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/device/load": "873",
    "sys/class/devfreq/15340000.vic/cur_freq": "729600000",
    "sys/class/devfreq/15340000.vic/device/load": "0",
    f"{CPUFREQ}0/scaling_cur_freq": "1728000",
    f"{CPUFREQ}4/scaling_cur_freq": "729600",
    "proc/stat": _STAT,
    "proc/meminfo": _MEMINFO,
    "var/lib/nvpmodel/status": "pmode:0002",
    "etc/nvpmodel.conf": _NVPMODEL,
}

XAVIER: Tree = {
    **_row(
        ZONE,
        "temp",
        {
            "CPU-therm": "41500",
            "GPU-therm": "38000",
            "AUX-therm": "38500",
            "Tboard_tegra": "37000",
            "PMIC-Die": "100000",  # a constant of the firmware
            "thermal-fan-est": "39850",
        },
    ),
    f"{HWMON}2/name": "ina3221",
    f"{HWMON}2/in1_label": "GPU",
    f"{HWMON}2/in1_input": "19056",
    f"{HWMON}2/curr1_input": "100",
    f"{HWMON}2/in2_label": "NC",
    f"{HWMON}2/in2_input": "0",
    f"{HWMON}2/curr2_input": "0",
    f"{HWMON}3/name": "ina3221",
    f"{HWMON}3/in1_label": "CV",
    f"{HWMON}3/in1_input": "19048",
    f"{HWMON}3/curr1_input": "0",
    "sys/class/devfreq/17000000.gv11b/cur_freq": "318750000",
    "sys/class/devfreq/17000000.gv11b/device/load": "0",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "1600000000",  # read as root
    "var/lib/nvpmodel/status": "pmode:0003",
}

INTEL: Tree = {
    **_row(ZONE, "temp", {"acpitz": "27800", "x86_pkg_temp": "88000"}),
    f"{ZONE}2/type": "acpitz",
    f"{ZONE}2/temp": "29800",
    f"{ZONE}3/type": "iwlwifi_1",
    f"{ZONE}3/temp": UNREADABLE,  # ENODATA while the radio is off
    **_row(COOLING, "cur_state", {"Processor": "2", "intel_powerclamp": "-1", "TCC Offset": "10"}),
    f"{COOLING}3/type": "Processor",
    f"{COOLING}3/cur_state": "0",
    f"{HWMON}4/name": "coretemp",
    f"{HWMON}4/temp1_label": "Package id 0",
    f"{HWMON}4/temp1_input": "89000",
    f"{HWMON}4/temp2_label": "Core 0",
    f"{HWMON}4/temp2_input": "87000",
    f"{CPUFREQ}0/scaling_cur_freq": "3899998",
    f"{CPUFREQ}1/scaling_cur_freq": "800000",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "41",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "2",
    "proc/stat": _STAT,
    "proc/meminfo": _MEMINFO,
}

AMD: Tree = {
    f"{HWMON}0/name": "nvme",
    f"{HWMON}0/temp1_label": "Composite",
    f"{HWMON}0/temp1_input": "38850",
    f"{HWMON}1/name": "k10temp",
    f"{HWMON}1/temp1_label": "Tctl",
    f"{HWMON}1/temp1_input": "52125",
    f"{HWMON}1/temp3_label": "Tccd1",
    f"{HWMON}1/temp3_input": "44500",
}


def plant(root: Path, tree: Tree) -> Path:
    """Write the files, each with the newline that the kernel gives; returns ``root``."""
    for name, content in tree.items():
        file = root / name
        if content is UNREADABLE:
            file.mkdir(parents=True)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if content.endswith("\n") else f"{content}\n")
    return root
