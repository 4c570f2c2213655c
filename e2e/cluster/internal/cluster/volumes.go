package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"keylend.dev/e2e/cluster/internal/host"
)

// volume is a piece of memory that serves as one PersistentVolume.
type volume struct {
	Name  string
	Class string
	Path  string
	Bytes int64
}

// classes are the StorageClasses; true marks the default one.
var classes = map[string]bool{"standard": true, "tiny": false}

// volumes are all of the cluster's: sixteen of ordinary size, four that fill up at once.
func (c Cluster) volumes() []volume {
	var all []volume
	add := func(class string, count int, bytes int64) {
		for index := range count {
			name := fmt.Sprintf("%s-%d", class, index)
			all = append(all, volume{name, class, c.in("volumes/" + name), bytes})
		}
	}
	add("standard", 16, 64<<20)
	add("tiny", 4, 4<<20)
	return all
}

func (c Cluster) mountVolumes() error {
	for _, volume := range c.volumes() {
		if err := host.MountMemory(volume.Path, volume.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// recycleVolumes makes the volumes anew whose claims were deleted, and offers them again. Nothing else would: the
// volumes have no provisioner.
func (c Cluster) recycleVolumes(progress Progress) error {
	released, err := c.kubectlOutput("get", "persistentvolumes",
		"--output=jsonpath={range .items[?(@.status.phase==\"Released\")]}{.metadata.name}{\"\\n\"}{end}")
	if err != nil {
		return err
	}
	names := strings.Fields(string(released))
	for _, each := range c.volumes() {
		if !slices.Contains(names, each.Name) {
			continue
		}
		if err := firstError(
			func() error { return host.UnmountUnder(each.Path) },
			func() error { return host.MountMemory(each.Path, each.Bytes) },
		); err != nil {
			return err
		}
		facts := c.facts()
		facts.Volumes = []volume{each}
		manifest, err := render("storage.yaml", facts)
		if err != nil {
			return err
		}
		if err := c.kubectl(nil, "delete", "persistentvolume", each.Name); err != nil {
			return err
		}
		if err := c.kubectl(bytes.NewReader(manifest), "apply", "-f", "-"); err != nil {
			return err
		}
		progress("recycled volume " + each.Name)
	}
	return nil
}
