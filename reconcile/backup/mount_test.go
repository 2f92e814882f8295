package backup

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// smallDisk is a disk with room for a megabyte.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	privileged(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=1m,mode=0700,uid=%d", os.Getuid()), "none", dir)
	t.Cleanup(func() { privileged(t, "umount", dir) })
	return dir
}

// privileged runs what takes root.
func privileged(t *testing.T, args ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
