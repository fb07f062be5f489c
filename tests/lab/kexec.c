/* Start another kernel in the guest at once, whatever its devices do: kexec KERNEL INITRD CMDLINE */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int n, char **words)
{
    if (n == 4) {
        int kernel = open(words[1], O_RDONLY), initrd = open(words[2], O_RDONLY);

        if (!syscall(SYS_kexec_file_load, kernel, initrd, strlen(words[3]) + 1, words[3], 0))
            syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
    }
    perror("kexec");
    return 1;
}
