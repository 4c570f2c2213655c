package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"time"

	"keylend.dev/e2e/peers/internal/flags"
	"keylend.dev/e2e/peers/internal/seek"
	"keylend.dev/e2e/peers/internal/spelling"
)

// How the scanners end. A scan that read nothing is an error, never a pass.
const (
	foundNothing = 0
	failed       = 1
	misused      = 2
	found        = 3
)

// sought is what the scanners share: a value, and how to look for it.
type sought struct {
	set       *flag.FlagSet
	needle    *flags.Needle
	encodings bool
	fragment  int
}

func newSought(name string) *sought {
	s := &sought{set: flag.NewFlagSet(name, flag.ContinueOnError)}
	s.needle = flags.NeedleFrom(s.set)
	s.set.BoolVar(&s.encodings, "encodings", true, "look for every spelling, not for the raw one only")
	s.set.IntVar(&s.fragment, "fragment", 0, "also look for every piece of so many bytes of the value (at least 8)")
	return s
}

func (s *sought) spellings() []spelling.Spelling {
	if s.encodings {
		return spelling.All()
	}
	return spelling.All()[:1]
}

func (s *sought) fingerprints() ([]seek.Fingerprint, error) {
	value, err := s.needle.Value()
	if err != nil {
		return nil, err
	}
	prints := seek.Take(value, s.spellings())
	if s.fragment != 0 && s.fragment < 8 {
		return nil, errors.New("a piece under 8 bytes means nothing")
	}
	if s.fragment != 0 {
		prints = append(prints, seek.TakeFragments(value, s.spellings(), s.fragment)...)
	}
	return prints, nil
}

// finder is the fast one unless pieces are looked for.
func (s *sought) finder() (seek.Finder, error) {
	prints, err := s.fingerprints()
	if err != nil {
		return nil, err
	}
	if s.fragment != 0 {
		return seek.NewFingerprints(prints)
	}
	value, err := s.needle.Value()
	return seek.NewLiteral(value, s.spellings()), err
}

// memScan searches the memory of another process.
func memScan(args []string) int {
	s := newSought("mem-scan")
	pid := s.set.String("pid", "", "the process to search")
	freeze := s.set.Bool("freeze", false, "stop the process meanwhile, so that the search sees one moment")
	after := s.set.Duration("after", 0, "wait so long first")
	if s.set.Parse(args) != nil || *pid == "" {
		return misused
	}
	finder, err := s.finder()
	if err != nil {
		return complain(err, misused)
	}
	mode := seek.Running
	if *freeze {
		mode = seek.Frozen
	}
	time.Sleep(*after)
	report, err := seek.Memory(*pid, finder, mode)
	return conclude(report, err)
}

// grepCanary searches a tree, a file, or standard input.
func grepCanary(args []string) int {
	s := newSought("grep-canary")
	target := ""
	if len(args) > 0 && (args[0] == "-" || args[0] == "" || args[0][0] != '-') {
		target, args = args[0], args[1:]
	}
	if s.set.Parse(args) != nil {
		return misused
	}
	if target == "" {
		target = s.set.Arg(0)
	}
	finder, err := s.finder()
	if err != nil || target == "" {
		return complain(errors.Join(err, errors.New("usage: grep-canary DIR|FILE|- --needle-base64 …")), misused)
	}
	if target == "-" {
		report, err := seek.Reader(os.Stdin, "standard input", finder)
		return conclude(report, err)
	}
	report, err := seek.Tree(target, finder)
	return conclude(report, err)
}

// fingerprint prints what a process that must not hold the value needs to look for it.
func fingerprint(args []string) int {
	s := newSought("fingerprint")
	if s.set.Parse(args) != nil {
		return misused
	}
	prints, err := s.fingerprints()
	if err != nil {
		return complain(err, misused)
	}
	_ = json.NewEncoder(os.Stdout).Encode(prints)
	return 0
}

// spell prints a value in every spelling, as JSON: what the origin echoes and what the scanners look for.
func spell(args []string) int {
	s := newSought("spell")
	if s.set.Parse(args) != nil {
		return misused
	}
	value, err := s.needle.Value()
	if err != nil {
		return complain(err, misused)
	}
	type row struct {
		Spelling string `json:"spelling"`
		Written  []byte `json:"written"` // base64 in JSON
		Seen     []byte `json:"seen"`
		BodyOnly bool   `json:"body_only"`
	}
	rows := []row{}
	for _, one := range s.spellings() {
		rows = append(rows, row{one.Name, one.Write(value), one.Seen(value), one.Place == spelling.BodyOnly})
	}
	_ = json.NewEncoder(os.Stdout).Encode(rows)
	return 0
}

func conclude(report *seek.Report, err error) int {
	encoder := json.NewEncoder(os.Stdout)
	_ = encoder.Encode(report)
	switch {
	case len(report.Hits) > 0:
		return found
	case err != nil:
		return complain(err, failed)
	default:
		return foundNothing
	}
}

func complain(err error, code int) int {
	_, _ = io.WriteString(os.Stderr, "keylend-peers: "+err.Error()+"\n")
	return code
}
