/* NVML's functions that kernels/nvml.py calls, for the stand-in's devices: fixed readings, and energy that only grows. */
#include <stdio.h>
#include <string.h>

typedef void *Device;
static unsigned long long energy_mj = 1000000;

int nvmlInit_v2(void) { return 0; }

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    static int one;
    if (strncmp(uuid, "GPU-e0e1e2e3-", 13) != 0) return 6; /* NVML_ERROR_NOT_FOUND */
    *device = &one;
    return 0;
}

int nvmlSystemGetDriverVersion(char *text, unsigned bytes) {
    snprintf(text, bytes, "000.00");
    return 0;
}

int nvmlDeviceGetClockInfo(Device device, int type, unsigned *mhz) {
    (void)device;
    *mhz = type == 1 ? 1111 : 2222;
    return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *mj) {
    (void)device;
    *mj = energy_mj += 5000;
    return 0;
}

/* As a card that has no sensor for it. */
int nvmlDeviceGetPowerUsage(Device device, unsigned *mw) {
    (void)device;
    (void)mw;
    return 3; /* NVML_ERROR_NOT_SUPPORTED */
}
