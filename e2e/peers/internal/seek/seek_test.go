package seek

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"keylend.dev/e2e/peers/internal/spelling"
)

// canary is assembled at run time, so that the test binary's own text does not hold it in one piece.
func canary() []byte {
	return []byte(strings.Join([]string{"kl", "test", "c4n/r+y", strconv.Itoa(8_675_309)}, "-"))
}

// finders gives every way to search for the canary.
func finders(t *testing.T) map[string]Finder {
	t.Helper()
	prints, err := NewFingerprints(Take(canary(), spelling.All()))
	if err != nil {
		t.Fatal(err)
	}
	fragments, err := NewFingerprints(TakeFragments(canary(), spelling.All(), 12))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Finder{"literal": NewLiteral(canary(), spelling.All()), "prints": prints, "fragments": fragments}
}

func TestAPlantedCanaryIsFoundInEachSpelling(t *testing.T) {
	for kind, finder := range finders(t) {
		for _, s := range spelling.All() {
			text := slicesOf(noise(10_000), s.Write(canary()), noise(10_000))
			report, err := Reader(bytes.NewReader(text), "text", finder)
			if err != nil || !spells(report, s.Name) {
				t.Errorf("%s: %s was not found: %v %v", kind, s.Name, report.Hits, err)
			}
		}
	}
}

func TestNothingIsFoundWhereNothingWasPlanted(t *testing.T) {
	for kind, finder := range finders(t) {
		report, err := Reader(bytes.NewReader(noise(1<<20)), "text", finder)
		if err != nil || len(report.Hits) != 0 || report.Scanned != 1<<20 {
			t.Errorf("%s: %+v %v", kind, report, err)
		}
	}
}

func TestACanaryAcrossTheEdgeOfWhatIsReadIsFoundOnce(t *testing.T) {
	finder := NewLiteral(canary(), spelling.All())
	for shift := range len(canary()) + 2 {
		text := slicesOf(noise(chunk-shift), canary(), noise(100))
		var found []Match
		_, err := Stream(iotest.HalfReader(bytes.NewReader(text)), finder, func(m Match) { found = append(found, m) })
		if err != nil || len(found) != 1 || found[0].Offset != int64(chunk-shift) {
			t.Fatalf("shift %d: %+v %v", shift, found, err)
		}
	}
}

func TestACanaryAfterALongRunOfZeroBytesIsFoundWhereItIs(t *testing.T) {
	text := slicesOf(canary(), make([]byte, 3*chunk), canary(), make([]byte, chunk), canary())
	for kind, finder := range map[string]Finder{"literal": finders(t)["literal"], "prints": finders(t)["prints"]} {
		var offsets []int64
		n, err := Stream(bytes.NewReader(text), finder, func(m Match) {
			if m.Spelling == "raw" {
				offsets = append(offsets, m.Offset)
			}
		})
		long := int64(len(canary()))
		if want := []int64{0, long + 3*chunk, 2*long + 4*chunk}; err != nil || n != int64(len(text)) || !slices.Equal(offsets, want) {
			t.Errorf("%s: %v, want %v (%v)", kind, offsets, want, err)
		}
	}
}

func TestAPieceOfTheCanaryIsFoundAsAFragment(t *testing.T) {
	finder := finders(t)["fragments"]
	for _, piece := range [][]byte{canary()[:12], canary()[5:17], canary()[len(canary())-12:]} {
		report, err := Reader(bytes.NewReader(slicesOf(noise(99), piece, noise(99))), "text", finder)
		if err != nil || !spells(report, "raw/fragment") {
			t.Errorf("%q was not found: %v", piece, err)
		}
	}
}

func TestAScanOfNothingIsAnErrorRatherThanAPass(t *testing.T) {
	finder := NewLiteral(canary(), spelling.All())
	if _, err := Reader(strings.NewReader(""), "text", finder); err != ErrNothingRead {
		t.Error(err)
	}
	if _, err := Tree(t.TempDir(), finder); err != ErrNothingRead {
		t.Error(err)
	}
}

func TestACanaryInAFileInAFileNameOrBehindALinkTargetIsFound(t *testing.T) {
	dir := t.TempDir()
	for path, content := range map[string]string{
		"deep/er/file": "x" + string(canary()), "a-" + strings.ReplaceAll(string(canary()), "/", "_"): "x",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere/"+string(canary()), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	report, err := Tree(dir, NewLiteral(canary(), spelling.All()))
	if err != nil || len(report.Hits) != 2 {
		t.Errorf("%+v %v", report, err)
	}
}

func TestACanaryHeldByThisProcessIsFoundByItsFingerprintAndNotOtherwise(t *testing.T) {
	other, err := NewFingerprints(printsOfAValueUnknownHere(t))
	if err != nil {
		t.Fatal(err)
	}
	if report, err := Memory("self", other, Running); err != nil || len(report.Hits) != 0 {
		t.Errorf("found what is not there: %+v %v", report.Hits, err)
	}
	held := canary()
	report, err := Memory("self", finders(t)["prints"], Running)
	if err != nil || !spells(report, "raw") {
		t.Errorf("%+v %v", report, err)
	}
	runtime.KeepAlive(held)
}

// printsOfAValueUnknownHere has another process choose a value and take its fingerprints.
func printsOfAValueUnknownHere(t *testing.T) []Fingerprint {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "CHOOSE_A_VALUE=1")
	out, err := child.Output()
	var prints []Fingerprint
	if err != nil || json.Unmarshal(out, &prints) != nil {
		t.Fatal(err)
	}
	return prints
}

func TestMain(m *testing.M) {
	if os.Getenv("CHOOSE_A_VALUE") != "" {
		chosen := "kl-test-" + strconv.FormatUint(rand.Uint64(), 10)
		json.NewEncoder(os.Stdout).Encode(Take([]byte(chosen), spelling.All()))
		return
	}
	os.Exit(m.Run())
}

func TestACanaryHeldByAnotherProcessIsFoundWhileItIsFrozen(t *testing.T) {
	// The shell keeps its variable on its heap, and its arguments on its stack.
	holder := exec.Command("sh", "-c", "read held; echo ready; read never")
	in, _ := holder.StdinPipe()
	out, _ := holder.StdoutPipe()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer in.Close()
	in.Write(append(canary(), '\n'))
	io.ReadFull(out, make([]byte, len("ready\n")))
	for kind, finder := range finders(t) {
		report, err := Memory(strconv.Itoa(holder.Process.Pid), finder, Frozen)
		if err != nil || len(report.Hits) == 0 {
			t.Errorf("%s: %+v %v", kind, report, err)
		}
	}
}

func TestACandidateWithAnotherDigestIsNoFind(t *testing.T) {
	prints := Take(canary(), spelling.All()[:1])
	prints[0].Sha256 = strings.Repeat("00", 32)
	finder, err := NewFingerprints(prints)
	if err != nil || len(finder.Find(canary())) != 0 {
		t.Errorf("%v %v", finder.Find(canary()), err)
	}
}

func TestFingerprintsHoldNothingOfTheValue(t *testing.T) {
	if _, err := NewFingerprints([]Fingerprint{{"raw", 4, "zz", "00"}}); err == nil {
		t.Error("a malformed fingerprint was taken")
	}
	literal := NewLiteral(canary(), spelling.All())
	for _, print := range Take(canary(), spelling.All()) {
		if len(literal.Find([]byte(print.Rolling+print.Sha256+print.Spelling))) != 0 {
			t.Errorf("%+v", print)
		}
	}
}

func spells(report *Report, name string) bool {
	for _, hit := range report.Hits {
		if strings.TrimSuffix(hit.Spelling, "/fragment") == strings.TrimSuffix(name, "/fragment") {
			return true
		}
		// Where a spelling changes nothing in this value, it goes by the name of the first that looks the same.
		for _, s := range spelling.All() {
			if s.Name == name && strings.TrimSuffix(hit.Spelling, "/fragment") == firstLike(s) {
				return true
			}
		}
	}
	return false
}

func firstLike(like spelling.Spelling) string {
	for _, s := range spelling.All() {
		if bytes.Equal(s.Seen(canary()), like.Seen(canary())) {
			return s.Name
		}
	}
	return ""
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func noise(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	out := make([]byte, n)
	source.Read(out)
	return out
}

func BenchmarkFind(b *testing.B) {
	prints, _ := NewFingerprints(Take(canary(), spelling.All()))
	window := noise(8 << 20)
	for kind, finder := range map[string]Finder{"literal": NewLiteral(canary(), spelling.All()), "prints": prints} {
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(window)))
			for b.Loop() {
				finder.Find(window)
			}
		})
	}
}
