package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// watchers is how many file watchers one user may have: kubelet and containerd take dozens a cluster, and the
// usual 128 are used up by the fourth cluster with an error that does not say so.
const watchers = 1024

// RaiseWatchLimit lets the machine's users watch more files, where it is less than clusters need.
func RaiseWatchLimit() error {
	const path = "/proc/sys/fs/inotify/max_user_instances"
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the limit of watchers: %w", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("reading the limit of watchers: %w", err)
	}
	if limit >= watchers {
		return nil
	}
	return os.WriteFile(path, []byte(strconv.Itoa(watchers)), 0o644)
}
