package spelling

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"
)

func TestEachSpellingLooksAsAPeerWouldWriteIt(t *testing.T) {
	value := []byte(`kl/t"&k`)
	expected := map[string]string{
		"raw":                   `kl/t"&k`,
		"base64-std-0":          "a2wvdCIm" + "aw== " + "a2wvdCIm" + "a3l5",
		"base64-url-1":          "eGtsL3QiJms eGtsL3QiJmt5eQ",
		"base64-url-2":          "eHhrbC90IiZr eHhrbC90IiZreXk",
		"percent-full-upper":    "%6B%6C%2F%74%22%26%6B",
		"percent-full-lower":    "%6b%6c%2f%74%22%26%6b",
		"percent-minimal-upper": "kl%2Ft%22%26k",
		"percent-minimal-lower": "kl%2ft%22%26k",
		"json-full-lower":       `\u006b\u006c\u002f\u0074\u0022\u0026\u006b`,
		"json-full-upper":       `\u006B\u006C\u002F\u0074\u0022\u0026\u006B`,
		"json-minimal":          `kl\/t\"&k`,
		"html-decimal":          "&#107;&#108;&#47;&#116;&#34;&#38;&#107;",
		"html-hex-lower":        "&#x6b;&#x6c;&#x2f;&#x74;&#x22;&#x26;&#x6b;",
		"html-hex-upper":        "&#x6B;&#x6C;&#x2F;&#x74;&#x22;&#x26;&#x6B;",
		"html-minimal":          "kl/t&quot;&amp;k",
		"hex-lower":             "6b6c2f7422266b",
		"hex-upper":             "6B6C2F7422266B",
		"utf16-le":              "k\x00l\x00/\x00t\x00\"\x00&\x00k\x00",
		"utf16-be":              "\x00k\x00l\x00/\x00t\x00\"\x00&\x00k",
	}
	for _, s := range All() {
		if want, listed := expected[s.Name]; listed && string(s.Write(value)) != want {
			t.Errorf("%s: wrote %q, want %q", s.Name, s.Write(value), want)
		}
		delete(expected, s.Name)
	}
	for name := range expected {
		t.Errorf("%s is no longer listed", name)
	}
}

func TestWhatAScannerLooksForStandsInWhatAPeerWritesWhateverStandsAround(t *testing.T) {
	for _, value := range []string{"kl-test-0", "kl-test-01", "kl-test-012", "kl-test-/+?~%41"} {
		for _, s := range All() {
			written, seen := s.Write([]byte(value)), s.Seen([]byte(value))
			if !bytes.Contains(written, seen) || len(seen) < len(value) {
				t.Errorf("%s of %q: %q is not in %q", s.Name, value, seen, written)
			}
			for half := range bytes.SplitSeq(written, []byte(" ")) {
				if !bytes.Contains(half, seen) {
					t.Errorf("%s of %q: %q is not in %q", s.Name, value, seen, half)
				}
			}
		}
	}
}

func TestWhatIsLookedForInBase64DependsOnNothingButTheValue(t *testing.T) {
	alphabets := map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.RawURLEncoding}
	for _, value := range []string{"kl-test-0", "kl-test-01", "kl-test-012"} {
		for _, s := range All() {
			var prefix int
			var name string
			if _, err := fmt.Sscanf(s.Name, "base64-%3s-%d", &name, &prefix); err != nil {
				continue
			}
			for _, around := range [][2]string{{"\x00\x00", "\x00"}, {"\xff\xff", "\xff"}, {"Zq", ""}} {
				text := alphabets[name].EncodeToString([]byte(around[0][:prefix] + value + around[1]))
				if !bytes.Contains([]byte(text), s.Seen([]byte(value))) {
					t.Errorf("%s of %q is not in %q", s.Name, value, text)
				}
			}
		}
	}
}

func TestTheListIsAsLongAsPromisedAndItsNamesAreUnique(t *testing.T) {
	names := map[string]bool{}
	for _, s := range All() {
		names[s.Name] = true
	}
	if len(names) != len(All()) || len(names) < 14 {
		t.Errorf("%d spellings under %d names", len(All()), len(names))
	}
	if _, err := Named("raw,nonsense"); err == nil {
		t.Error("an unknown spelling was accepted")
	}
}
