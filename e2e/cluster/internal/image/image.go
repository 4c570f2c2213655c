// Package image turns static binaries into container images without Docker.
//
// The same files give the same bytes, hence the same digest, on every machine: no clock, owner or file mode of
// the building machine enters. It must never learn to run anything: an image here is files and an entrypoint.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// File is one file of an image. Without a Mode it is readable by all, and executable by all where its source is by anyone.
type File struct {
	Source      string
	Destination string
	Mode        int64
}

// Spec is what an image is made of. The first file is what runs.
type Spec struct {
	Reference string
	Files     []File
	// User is a number, so that Kubernetes can tell it from root.
	User string
}

// Image is a built image: its name, its digest and its parts by digest.
type Image struct {
	Reference string
	Digest    string
	index     []byte
	blobs     map[string][]byte
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Build reads the files and makes the image in memory.
func Build(spec Spec) (Image, error) {
	layer, err := layerOf(spec.Files)
	if err != nil {
		return Image{}, err
	}
	image := Image{Reference: Normalized(spec.Reference), blobs: map[string][]byte{}}
	content := image.add("application/vnd.oci.image.layer.v1.tar", layer)
	config, err := json.Marshal(configOf(spec, content.Digest))
	if err != nil {
		return Image{}, fmt.Errorf("writing image config: %w", err)
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        image.add("application/vnd.oci.image.config.v1+json", config),
		"layers":        []descriptor{content},
	})
	if err != nil {
		return Image{}, fmt.Errorf("writing image manifest: %w", err)
	}
	entry := image.add("application/vnd.oci.image.manifest.v1+json", manifest)
	image.Digest = entry.Digest
	var manifests []descriptor
	for _, name := range image.names() {
		entry.Annotations = map[string]string{"io.containerd.image.name": name}
		manifests = append(manifests, entry)
	}
	image.index, err = json.Marshal(map[string]any{"schemaVersion": 2, "manifests": manifests})
	if err != nil {
		return Image{}, fmt.Errorf("writing image index: %w", err)
	}
	return image, nil
}

// WriteTo writes the image as a tar in the OCI image layout.
func (i Image) WriteTo(writer io.Writer) (int64, error) {
	counted := &counter{writer: writer}
	archive := tar.NewWriter(counted)
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": i.index}
	for digest, blob := range i.blobs {
		files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] = blob
	}
	for _, name := range sortedKeys(files) {
		if err := addFile(archive, name, 0o644, files[name]); err != nil {
			return counted.written, err
		}
	}
	return counted.written, archive.Close()
}

// Normalized spells an image name in full, as Kubernetes does: nginx is docker.io/library/nginx:latest.
func Normalized(reference string) string {
	host, rest, found := strings.Cut(reference, "/")
	switch {
	case !found:
		reference = "docker.io/library/" + reference
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		reference = "docker.io/" + host + "/" + rest
	}
	if !strings.Contains(path.Base(reference), ":") {
		reference += ":latest"
	}
	return reference
}

// names are what a pod may call the image: by its tag, and by its digest, as if it had been pulled so.
func (i Image) names() []string {
	repository := i.Reference[:strings.LastIndex(i.Reference, ":")]
	return []string{i.Reference, repository + "@" + i.Digest}
}

func (i Image) add(mediaType string, blob []byte) descriptor {
	sum := sha256.Sum256(blob)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	i.blobs[digest] = blob
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(blob)}
}

func configOf(spec Spec, layer string) any {
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{spec.Files[0].Destination}, "User": spec.User, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layer}},
	}
}

// layerOf packs the files and the folders above them, sorted, owned by root.
func layerOf(files []File) ([]byte, error) {
	contents, modes := map[string][]byte{}, map[string]int64{}
	for _, file := range files {
		if !path.IsAbs(file.Destination) || path.Clean(file.Destination) != file.Destination {
			return nil, fmt.Errorf("image file %q is not an absolute path", file.Destination)
		}
		content, err := os.ReadFile(file.Source)
		if err != nil {
			return nil, fmt.Errorf("reading image file: %w", err)
		}
		status, err := os.Stat(file.Source)
		if err != nil {
			return nil, fmt.Errorf("reading image file: %w", err)
		}
		name := file.Destination[1:]
		contents[name], modes[name] = content, file.Mode
		switch {
		case file.Mode != 0:
		case status.Mode()&0o111 != 0:
			modes[name] = 0o755
		default:
			modes[name] = 0o644
		}
		for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
			contents[folder+"/"], modes[folder+"/"] = nil, 0o755
		}
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, name := range sortedKeys(contents) {
		if err := addFile(archive, name, modes[name], contents[name]); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("packing image layer: %w", err)
	}
	return layer.Bytes(), nil
}

func addFile(archive *tar.Writer, name string, mode int64, content []byte) error {
	kind := byte(tar.TypeReg)
	if strings.HasSuffix(name, "/") {
		kind = tar.TypeDir
	}
	header := tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatPAX}
	if err := archive.WriteHeader(&header); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	if _, err := archive.Write(content); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	return nil
}

// ParseFile reads SOURCE:DESTINATION.
func ParseFile(text string) (File, error) {
	source, destination, found := strings.Cut(text, ":")
	if !found || source == "" {
		return File{}, fmt.Errorf("file %q is not SOURCE:DESTINATION", text)
	}
	return File{Source: source, Destination: destination}, nil
}

func sortedKeys(files map[string][]byte) []string {
	keys := make([]string, 0, len(files))
	for key := range files {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

type counter struct {
	writer  io.Writer
	written int64
}

func (c *counter) Write(bytes []byte) (int, error) {
	count, err := c.writer.Write(bytes)
	c.written += int64(count)
	return count, err
}
