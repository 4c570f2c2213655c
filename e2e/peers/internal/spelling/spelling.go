// Package spelling is the one list of the ways a credential can be written down: the origin echoes a value in each
// of them, and every scanner looks for each of them, so that what is provoked and what is looked for cannot drift
// apart. Nothing here decides whether a spelling must be scrubbed; it only knows how each one looks.
package spelling

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
)

// A Spelling is one way to write a value down.
type Spelling struct {
	// Name is stable: tests and queries (`?enc=`) use it.
	Name string
	// Write renders the value as a peer would. Where neighbours matter (base64), it renders the value both at the
	// end of a text and inside one, with a space between the two.
	Write func(value []byte) []byte
	// Seen is the part of what Write renders that depends on the value alone: what a scanner looks for.
	Seen func(value []byte) []byte
	// Place says where it can stand.
	Place Place
}

// Place says where in an HTTP message a spelling can stand.
type Place int

const (
	// Anywhere: visible ASCII only, so headers, reason and trailers too.
	Anywhere Place = iota
	// BodyOnly: holds bytes that no header may hold.
	BodyOnly
)

// All lists every spelling, in a fixed order.
func All() []Spelling {
	all := []Spelling{same("raw", bytes.Clone)}
	for prefix := range 3 {
		all = append(all,
			inBase64(fmt.Sprintf("base64-std-%d", prefix), base64.StdEncoding, prefix),
			inBase64(fmt.Sprintf("base64-url-%d", prefix), base64.RawURLEncoding, prefix))
	}
	all = append(all,
		same("percent-full-upper", each("%%%02X")),
		same("percent-full-lower", each("%%%02x")),
		same("percent-minimal-upper", escaping(isReserved, "%%%02X")),
		same("percent-minimal-lower", escaping(isReserved, "%%%02x")),
		same("json-full-lower", each(`\u%04x`)),
		same("json-full-upper", each(`\u%04X`)),
		same("json-minimal", replacing(`"`, `\"`, `\`, `\\`, `/`, `\/`)),
		same("html-decimal", each("&#%d;")),
		same("html-hex-lower", each("&#x%x;")),
		same("html-hex-upper", each("&#x%X;")),
		same("html-minimal", replacing("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")),
		same("hex-lower", func(v []byte) []byte { return []byte(hex.EncodeToString(v)) }),
		same("hex-upper", func(v []byte) []byte { return bytes.ToUpper([]byte(hex.EncodeToString(v))) }))
	return append(all,
		bodyOnly("utf16-le", inUTF16(func(unit uint16) [2]byte { return [2]byte{byte(unit), byte(unit >> 8)} })),
		bodyOnly("utf16-be", inUTF16(func(unit uint16) [2]byte { return [2]byte{byte(unit >> 8), byte(unit)} })))
}

// Named returns the spellings with the given comma-separated names, all of them for an empty list, or an error
// that names the first unknown one.
func Named(list string) ([]Spelling, error) {
	if list == "" {
		return All(), nil
	}
	byName := map[string]Spelling{}
	for _, s := range All() {
		byName[s.Name] = s
	}
	var chosen []Spelling
	for name := range strings.SplitSeq(list, ",") {
		s, known := byName[name]
		if !known {
			return nil, fmt.Errorf("unknown spelling %q", name)
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

func same(name string, write func([]byte) []byte) Spelling {
	return Spelling{Name: name, Write: write, Seen: write}
}

func bodyOnly(name string, write func([]byte) []byte) Spelling {
	return Spelling{Name: name, Write: write, Seen: write, Place: BodyOnly}
}

// inBase64 writes the value behind `prefix` other bytes, which shifts it to one of the three alignments.
func inBase64(name string, alphabet *base64.Encoding, prefix int) Spelling {
	before := []byte("xx")[:prefix]
	encode := func(v []byte, after string) string {
		return alphabet.EncodeToString(append(append(bytes.Clone(before), v...), after...))
	}
	return Spelling{
		Name:  name,
		Write: func(v []byte) []byte { return []byte(encode(v, "") + " " + encode(v, "yy")) },
		// Six bits a character: the first that holds no bit of the prefix, up to the last that holds no later bit.
		Seen: func(v []byte) []byte {
			first := (8*prefix + 5) / 6
			last := 8 * (prefix + len(v)) / 6
			return []byte(encode(v, ""))[first:last]
		},
	}
}

func each(format string) func([]byte) []byte {
	return escaping(func(byte) bool { return true }, format)
}

func escaping(must func(byte) bool, format string) func([]byte) []byte {
	return func(v []byte) []byte {
		var out bytes.Buffer
		for _, b := range v {
			if must(b) {
				fmt.Fprintf(&out, format, b)
			} else {
				out.WriteByte(b)
			}
		}
		return out.Bytes()
	}
}

// isReserved is the complement of RFC 3986's unreserved set.
func isReserved(b byte) bool {
	letter := b|0x20 >= 'a' && b|0x20 <= 'z'
	digit := b >= '0' && b <= '9'
	return !letter && !digit && !strings.ContainsRune("-._~", rune(b))
}

func replacing(pairs ...string) func([]byte) []byte {
	replacer := strings.NewReplacer(pairs...)
	return func(v []byte) []byte { return []byte(replacer.Replace(string(v))) }
}

func inUTF16(order func(uint16) [2]byte) func([]byte) []byte {
	return func(v []byte) []byte {
		var out []byte
		for _, unit := range utf16.Encode([]rune(string(v))) {
			pair := order(unit)
			out = append(out, pair[0], pair[1])
		}
		return out
	}
}
