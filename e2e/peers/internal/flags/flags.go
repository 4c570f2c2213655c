// Package flags holds what the standard flag package lacks: a repeatable list, and the value that scanners look for.
package flags

import (
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"strings"
)

// A List is a flag that may be given more than once, or with commas.
type List []string

// String implements flag.Value.
func (l *List) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *List) Set(text string) error {
	*l = append(*l, strings.Split(text, ",")...)
	return nil
}

// A Needle is the value to look for, given as base64, or as a file so that it stands on no command line.
type Needle struct{ base64, file string }

// NeedleFrom adds the flags of a needle.
func NeedleFrom(set *flag.FlagSet) *Needle {
	n := &Needle{}
	set.StringVar(&n.base64, "needle-base64", "", "the value to look for, as base64")
	set.StringVar(&n.file, "needle-file", "", "a file that holds exactly the value to look for")
	return n
}

// shortest keeps a scan from finding everywhere what means nothing.
const shortest = 8

// Value reads the needle.
func (n *Needle) Value() ([]byte, error) {
	if (n.base64 == "") == (n.file == "") {
		return nil, errors.New("give one of --needle-base64 and --needle-file")
	}
	value, err := base64.StdEncoding.DecodeString(n.base64)
	if n.file != "" {
		value, err = os.ReadFile(n.file)
	}
	if err == nil && len(value) < shortest {
		err = errors.New("a value under 8 bytes cannot be looked for")
	}
	return value, err
}
