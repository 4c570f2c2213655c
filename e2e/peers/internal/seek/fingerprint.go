package seek

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"keylend.dev/e2e/peers/internal/spelling"
)

// A Fingerprint tells a text without holding it: a rolling hash that finds candidates cheaply, and a SHA-256 that
// decides. The JSON form is what `keylend-peers fingerprint` prints and the caller's `/memory` takes.
type Fingerprint struct {
	Spelling string `json:"spelling"`
	Length   int    `json:"length"`
	Rolling  string `json:"rolling"`
	Sha256   string `json:"sha256"`
}

// factor is the base of the polynomial hash, modulo 2^64. Odd, so that no byte is shifted out.
const factor uint64 = 0x9E3779B97F4A7C15

// Take makes the fingerprints of value in the given spellings.
func Take(value []byte, spellings []spelling.Spelling) []Fingerprint {
	var all []Fingerprint
	known := map[string]bool{}
	for _, s := range spellings {
		all = add(all, known, s.Name, s.Seen(value))
	}
	return all
}

// TakeFragments makes the fingerprints of every run of `size` bytes of value, as long as that run is in each of the
// spellings, so that a piece of the value is found too.
func TakeFragments(value []byte, spellings []spelling.Spelling, size int) []Fingerprint {
	var all []Fingerprint
	known := map[string]bool{}
	for _, s := range spellings {
		seen := s.Seen(value)
		width := min(len(seen), (size*len(seen)+len(value)-1)/len(value))
		for at := 0; at+width <= len(seen); at++ {
			all = add(all, known, s.Name+"/fragment", seen[at:at+width])
		}
	}
	return all
}

func add(all []Fingerprint, known map[string]bool, name string, text []byte) []Fingerprint {
	if known[string(text)] {
		return all
	}
	known[string(text)] = true
	digest := sha256.Sum256(text)
	return append(all, Fingerprint{
		Spelling: name,
		Length:   len(text),
		Rolling:  fmt.Sprintf("%016x", roll(text)),
		Sha256:   hex.EncodeToString(digest[:]),
	})
}

func roll(text []byte) uint64 {
	var h uint64
	for _, b := range text {
		h = h*factor + uint64(b) + 1
	}
	return h
}

// Fingerprints searches for fingerprints.
type Fingerprints struct {
	groups  []group
	longest int
}

// group holds the fingerprints of one length: they share a pass.
type group struct {
	length int
	drop   uint64 // what the byte that leaves the window is worth
	filter [1 << 10]uint64
	wanted map[uint64][]entry
}

type entry struct {
	spelling string
	digest   [sha256.Size]byte
}

// NewFingerprints prepares a search, or says which fingerprint is malformed.
func NewFingerprints(all []Fingerprint) (*Fingerprints, error) {
	f := &Fingerprints{}
	byLength := map[int]int{}
	for i, print := range all {
		var rolling uint64
		digest, err := hex.DecodeString(print.Sha256)
		if _, scan := fmt.Sscanf(print.Rolling, "%x", &rolling); scan != nil || err != nil ||
			len(digest) != sha256.Size || print.Length < 1 || print.Length > chunk {
			return nil, fmt.Errorf("fingerprint %d is malformed", i)
		}
		at, known := byLength[print.Length]
		if !known {
			at = len(f.groups)
			byLength[print.Length] = at
			f.groups = append(f.groups, newGroup(print.Length))
		}
		f.groups[at].want(rolling, entry{print.Spelling, [sha256.Size]byte(digest)})
		f.longest = max(f.longest, print.Length)
	}
	if len(f.groups) == 0 {
		return nil, fmt.Errorf("no fingerprints given")
	}
	return f, nil
}

func newGroup(length int) group {
	g := group{length: length, drop: 1, wanted: map[uint64][]entry{}}
	for range length {
		g.drop *= factor
	}
	return g
}

func (g *group) want(rolling uint64, e entry) {
	g.wanted[rolling] = append(g.wanted[rolling], e)
	g.filter[rolling>>54] |= 1 << (rolling >> 48 & 63)
}

// Find implements [Finder].
func (f *Fingerprints) Find(window []byte) []Match {
	var matches []Match
	for i := range f.groups {
		matches = f.groups[i].find(window, matches)
	}
	return matches
}

// Longest implements [Finder].
func (f *Fingerprints) Longest() int { return f.longest }

func (g *group) find(window []byte, matches []Match) []Match {
	if len(window) < g.length {
		return matches
	}
	h := roll(window[:g.length])
	for at := 0; ; at++ {
		if g.filter[h>>54]&(1<<(h>>48&63)) != 0 {
			matches = g.confirm(h, window, at, matches)
		}
		end := at + g.length
		if end == len(window) {
			return matches
		}
		h = h*factor + uint64(window[end]) + 1 - g.drop*(uint64(window[at])+1)
	}
}

func (g *group) confirm(h uint64, window []byte, at int, matches []Match) []Match {
	candidates := g.wanted[h]
	if len(candidates) == 0 {
		return matches
	}
	digest := sha256.Sum256(window[at : at+g.length])
	for _, e := range candidates {
		if e.digest == digest {
			matches = append(matches, Match{e.spelling, int64(at), g.length})
		}
	}
	return matches
}
