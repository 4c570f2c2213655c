package host

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountInfo is one line of /proc/self/mountinfo: where and what kind.
type mountInfo struct{ point, kind string }

func mounts() ([]mountInfo, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	var all []mountInfo
	for line := range strings.Lines(string(text)) {
		head, tail, _ := strings.Cut(line, " - ")
		fields, filesystem := strings.Fields(head), strings.Fields(tail)
		if len(fields) < 5 || len(filesystem) < 1 {
			return nil, fmt.Errorf("listing mounts: odd line %q", line)
		}
		all = append(all, mountInfo{unescape.Replace(fields[4]), filesystem[0]})
	}
	return all, nil
}

// unescape undoes the kernel's octal escapes in mount points.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// MountsUnder are the mount points at and below folder, deepest last.
func MountsUnder(folder string) ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	var under []string
	for _, mount := range all {
		if strings.HasPrefix(mount.point+"/", folder+"/") {
			under = append(under, mount.point)
		}
	}
	slices.Sort(under)
	return under, nil
}

// UnmountUnder unmounts everything at and below folder, deepest first. A mount still busy with a dying process is
// detached, and goes when that process does.
func UnmountUnder(folder string) error {
	points, err := MountsUnder(folder)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, 0); err == nil {
			continue
		}
		err := unix.Unmount(point, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it went meanwhile, with the one above it
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	return nil
}

// MountMemory mounts a memory file system of so many bytes at point, making the folder.
func MountMemory(point string, bytes int64) error {
	if err := os.MkdirAll(point, 0o755); err != nil {
		return fmt.Errorf("making mount point: %w", err)
	}
	if err := unix.Mount("tmpfs", point, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", bytes)); err != nil {
		return fmt.Errorf("mounting tmpfs at %s: %w", point, err)
	}
	return nil
}
