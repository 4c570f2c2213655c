// Command tools builds the programs of the test cluster into a cache, once.
//
// A program is kept under the hash of all it is made from: its module's go.sum (hence the checksum of every
// dependency), its own source, the Go release and the build flags. What is there already is not built again.
// Nothing here may ask for a version that a committed go.mod does not name.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tool is one program: where its module is and what to build there.
type tool struct {
	name    string
	folder  string
	target  string
	module  string
	version []string
}

const componentBase = "k8s.io/component-base/version."

// tools are listed slowest first. `version` is linker flags in which VERSION, MAJOR and MINOR are filled in with the
// version of `module`: programs built from source do not know their own.
var tools = []tool{
	{"kubernetes", "kubernetes", ".", "k8s.io/kubernetes", []string{
		"-X " + componentBase + "gitVersion=VERSION", "-X " + componentBase + "gitMajor=MAJOR", "-X " + componentBase + "gitMinor=MINOR",
	}},
	{"coredns", "coredns", "github.com/coredns/coredns", "github.com/coredns/coredns", nil},
	{"keylend-cluster", ".", "./cmd/keylend-cluster", "", nil},
	{"pause", ".", "./cmd/pause", "", nil},
	{"helm", "helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4", []string{"-X helm.sh/helm/v4/internal/version.version=VERSION"}},
}

func main() {
	if err := buildAll(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster tools:", err)
		os.Exit(1)
	}
}

func buildAll() error {
	cache, err := cacheFolder()
	if err != nil {
		return err
	}
	for _, folder := range []string{"bin", "cluster"} {
		if err := os.MkdirAll(filepath.Join(cache, folder), 0o755); err != nil {
			return fmt.Errorf("making cache folder: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(cache, "cluster/lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("opening lock: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("waiting for another build: %w", err)
	}
	for _, tool := range tools {
		built, err := tool.ensure(filepath.Join(cache, "cluster"))
		if err != nil {
			return fmt.Errorf("%s: %w", tool.name, err)
		}
		if err := link(built, filepath.Join(cache, "bin", tool.name)); err != nil {
			return fmt.Errorf("%s: %w", tool.name, err)
		}
	}
	return nil
}

func cacheFolder() (string, error) {
	if cache := os.Getenv("KEYLEND_CACHE"); cache != "" {
		return filepath.Abs(cache)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	return filepath.Join(home, ".cache", "keylend"), nil
}

// ensure returns the path of the built program, and builds it if it is not in the cache.
func (t tool) ensure(cache string) (string, error) {
	key, err := t.key()
	if err != nil {
		return "", err
	}
	built := filepath.Join(cache, t.name+"-"+key)
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	flags, err := t.linkerFlags()
	if err != nil {
		return "", err
	}
	// Built beside its place and then renamed: what is in the cache is whole.
	unfinished := built + ".unfinished"
	if err := t.build(unfinished, flags); err != nil {
		return "", err
	}
	return built, os.Rename(unfinished, built)
}

// key is the hash of all that the program is made from.
func (t tool) key() (string, error) {
	hash := sha256.New()
	release, err := goCommand(t.folder, "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("asking Go for its release: %w", err)
	}
	fmt.Fprintln(hash, t, string(release))
	err = filepath.WalkDir(t.folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != t.folder && isModule(path):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		fmt.Fprintln(hash, path, len(content))
		hash.Write(content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hashing sources: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func isModule(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func (t tool) linkerFlags() (string, error) {
	flags := append([]string{"-s", "-w"}, t.version...)
	if t.module == "" {
		return strings.Join(flags, " "), nil
	}
	output, err := goCommand(t.folder, "list", "-m", "-f", "{{.Version}}", t.module).Output()
	if err != nil {
		return "", fmt.Errorf("asking for the version of %s: %w", t.module, err)
	}
	version := strings.TrimSpace(string(output))
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	return strings.NewReplacer("VERSION", version, "MAJOR", parts[0], "MINOR", parts[1]).Replace(strings.Join(flags, " ")), nil
}

// build compiles the program, and says every ten seconds how far it is.
func (t tool) build(output, flags string) error {
	fmt.Printf("building %s\n", t.name)
	command := goCommand(t.folder, "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", output, t.target)
	reader, writer := io.Pipe()
	command.Stderr = writer
	watched := make(chan string)
	go func() { watched <- watch(t.name, reader) }()
	err := command.Run()
	_ = writer.Close()
	said := <-watched
	if err != nil {
		return fmt.Errorf("building: %w\n%s", err, said)
	}
	return nil
}

// goCommand is a Go command whose result no setting of the machine changes.
func goCommand(folder string, arguments ...string) *exec.Cmd {
	command := exec.Command("go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	command.Stderr = os.Stderr
	return command
}

// link lets path lead to target, at once and without a gap.
func link(target, path string) error {
	fresh := path + ".new"
	_ = os.Remove(fresh)
	if err := os.Symlink(target, fresh); err != nil {
		return fmt.Errorf("linking: %w", err)
	}
	return os.Rename(fresh, path)
}

// interval is how often a long build shows that it lives.
const interval = 10 * time.Second
