// Package seek looks for a credential in what it must not be in: files, streams, a process's memory. It finds the
// value in every spelling of package spelling, wherever it lies across the edges of what is read at a time, and it
// says how much it has read, because a scan of nothing proves nothing.
package seek

import (
	"bytes"
	"errors"
	"io"
)

// A Match is one find.
type Match struct {
	// Spelling names how the value was written.
	Spelling string
	// Offset is where it begins.
	Offset int64
	// Length is how long it is as written.
	Length int
}

// A Finder finds a value in one window of bytes. There are two: [Literal] is fast and holds the value,
// [Fingerprints] does not hold it and so can search the process it runs in.
type Finder interface {
	// Find returns every match in window, offsets counted from its beginning.
	Find(window []byte) []Match
	// Longest is the length of the longest match there can be.
	Longest() int
}

// chunk is how much is read at a time.
const chunk = 1 << 20

// ErrNothingRead means that there was nothing to search, so the scan has no meaning.
var ErrNothingRead = errors.New("nothing was read, so nothing was searched")

// Stream searches all of r, hands each match to found once, and returns how many bytes it read.
func Stream(r io.Reader, finder Finder, found func(Match)) (int64, error) {
	var total int64
	s := sweep{finder: finder, found: found}
	buffer := make([]byte, chunk)
	for {
		n, err := io.ReadFull(r, buffer)
		s.next(buffer[:n])
		total += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// sweep carries the end of one window over to the next, so that a match may lie across them.
type sweep struct {
	finder Finder
	found  func(Match)
	carry  []byte
	at     int64
}

// next searches what follows. Long runs of zero bytes, as most of a heap is, hold nothing and are passed over.
func (s *sweep) next(fresh []byte) {
	edge := s.finder.Longest()
	if len(fresh) > 2*edge && isZero(fresh) {
		s.search(fresh[:edge])
		s.jump(s.at + int64(len(s.carry)+len(fresh)-2*edge))
		fresh = fresh[len(fresh)-edge:]
	}
	s.search(fresh)
}

func (s *sweep) search(fresh []byte) {
	window := append(s.carry, fresh...)
	for _, m := range s.finder.Find(window) {
		// One that ends within the carried bytes was reported with the window before.
		if int(m.Offset)+m.Length > len(s.carry) {
			m.Offset += s.at
			s.found(m)
		}
	}
	keep := min(max(s.finder.Longest()-1, 0), len(window))
	s.at += int64(len(window) - keep)
	s.carry = bytes.Clone(window[len(window)-keep:])
}

var zeros [chunk]byte

func isZero(b []byte) bool { return len(b) <= chunk && bytes.Equal(b, zeros[:len(b)]) }

// jump says that what comes next does not continue what came before.
func (s *sweep) jump(to int64) {
	s.carry, s.at = nil, to
}
