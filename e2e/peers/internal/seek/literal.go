package seek

import (
	"bytes"

	"keylend.dev/e2e/peers/internal/spelling"
)

// Literal searches for the spellings of a value that it holds.
type Literal []needle

type needle struct {
	spelling string
	bytes    []byte
}

// NewLiteral searches for value in every spelling, or in the raw one only.
func NewLiteral(value []byte, spellings []spelling.Spelling) Literal {
	var finder Literal
	known := map[string]bool{}
	for _, s := range spellings {
		seen := s.Seen(value)
		if !known[string(seen)] {
			known[string(seen)] = true
			finder = append(finder, needle{s.Name, seen})
		}
	}
	return finder
}

// Find implements [Finder].
func (l Literal) Find(window []byte) []Match {
	var matches []Match
	for _, n := range l {
		for at := 0; ; {
			next := bytes.Index(window[at:], n.bytes)
			if next < 0 {
				break
			}
			matches = append(matches, Match{n.spelling, int64(at + next), len(n.bytes)})
			at += next + 1
		}
	}
	return matches
}

// Longest implements [Finder].
func (l Literal) Longest() int {
	longest := 0
	for _, n := range l {
		longest = max(longest, len(n.bytes))
	}
	return longest
}
