package image

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNamesAreSpelledAsKubernetesSpellsThem(t *testing.T) {
	for short, full := range map[string]string{
		"upstream":                  "docker.io/library/upstream:latest",
		"upstream:test":             "docker.io/library/upstream:test",
		"acme/upstream":             "docker.io/acme/upstream:latest",
		"keylend.dev/sidecar:test":  "keylend.dev/sidecar:test",
		"localhost/sidecar":         "localhost/sidecar:latest",
		"registry.test:5000/one/it": "registry.test:5000/one/it:latest",
	} {
		if got := Normalized(short); got != full {
			t.Errorf("%s: %s, wanted %s", short, got, full)
		}
	}
}

func TestTheSameBytesMakeTheSameImage(t *testing.T) {
	digest := func(content string, written time.Time) string {
		source := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(source, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(source, written, written); err != nil {
			t.Fatal(err)
		}
		image, err := Build(Spec{Reference: "it:test", Files: []File{{Source: source, Destination: "/bin/program"}}, User: "65532"})
		if err != nil {
			t.Fatal(err)
		}
		return image.Digest
	}
	first := digest("one", time.Unix(1, 0))
	if again := digest("one", time.Unix(2, 0)); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	if other := digest("two", time.Unix(1, 0)); other == first {
		t.Error("two programs, one digest")
	}
}

func TestAFileWithoutAnAbsolutePlaceIsRefused(t *testing.T) {
	for _, place := range []string{"", "program", "/a/../b", "/a//b", "/a/"} {
		if _, err := Build(Spec{Files: []File{{Source: os.Args[0], Destination: place}}}); err == nil {
			t.Errorf("%q was taken", place)
		}
	}
}

func TestAProgramCanBeOneThatNobodyReads(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for mode, expected := range map[int64]int64{0: 0o755, 0o111: 0o111} {
		layer, err := layerOf([]File{{Source: source, Destination: "/program", Mode: mode}})
		if err != nil {
			t.Fatal(err)
		}
		header, err := tar.NewReader(bytes.NewReader(layer)).Next()
		if err != nil {
			t.Fatal(err)
		}
		if header.Mode != expected || header.Uid != 0 {
			t.Errorf("mode %o: %o of user %d", mode, header.Mode, header.Uid)
		}
	}
}
