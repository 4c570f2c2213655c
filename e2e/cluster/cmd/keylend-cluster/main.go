// Command keylend-cluster brings up a real Kubernetes on this machine without Docker, and takes it down again.
//
// Each verb is one entry of a table below and one function beside it; what they do lives in internal/cluster.
// No verb may download or build anything: `make cluster-tools` does that.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"keylend.dev/e2e/cluster/internal/cluster"
)

// verb is one thing that the command can do.
type verb struct {
	usage   string
	summary string
	example string
	run     func(settings settings, arguments []string) error
}

// settings is what the environment says; nothing else reads it.
type settings struct {
	name   string
	states string
	tools  string
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(arguments []string) int {
	if len(arguments) == 0 || arguments[0] == "-h" || arguments[0] == "--help" || arguments[0] == "help" {
		overview()
		return 0
	}
	chosen, found := verbs()[arguments[0]]
	if !found {
		fmt.Fprintf(os.Stderr, "keylend-cluster: no verb %q; see keylend-cluster --help\n", arguments[0])
		return 2
	}
	settings, err := readSettings()
	if err == nil {
		err = chosen.run(settings, arguments[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(os.Stderr, "keylend-cluster %s: %v\n", arguments[0], err)
		return 1
	}
	return 0
}

func overview() {
	fmt.Println("A real Kubernetes on this machine, without Docker. All but api need root.")
	fmt.Println("\nVerbs (each with --help):")
	for _, name := range order {
		fmt.Printf("  %-11s %s\n", name, verbs()[name].summary)
	}
	fmt.Println("\nEnvironment:")
	fmt.Println("  KEYLEND_CLUSTER  name of the cluster where --name is not given (keylend)")
	fmt.Println("  KEYLEND_STATE    folder of the clusters' work folders (/var/lib/keylend-e2e)")
	fmt.Println("  KEYLEND_CACHE    folder of the built programs (~/.cache/keylend)")
}

func readSettings() (settings, error) {
	cache := os.Getenv("KEYLEND_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return settings{}, fmt.Errorf("finding the cache folder: %w", err)
		}
		cache = filepath.Join(home, ".cache", "keylend")
	}
	return settings{
		name:   orElse(os.Getenv("KEYLEND_CLUSTER"), "keylend"),
		states: orElse(os.Getenv("KEYLEND_STATE"), "/var/lib/keylend-e2e"),
		tools:  filepath.Join(cache, "bin"),
	}, nil
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// errUsage says that the command line was wrong, and that this was said already.
var errUsage = errors.New("wrong usage")

// command is a verb's command line: its flags, of which every verb has --name.
type command struct {
	*flag.FlagSet
	settings settings
	name     *string
}

func newCommand(name string, settings settings) command {
	flags := newFlags(name)
	return command{flags, settings, flags.String("name", settings.name, "`name` of the cluster")}
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {
		verb := verbs()[name]
		fmt.Fprintf(flags.Output(), "%s\n\nUsage:\n  keylend-cluster %s %s\n\nExample:\n  %s\n\nFlags:\n", verb.summary, name, verb.usage, verb.example)
		flags.PrintDefaults()
	}
	return flags
}

// parse reads the command line and finds the cluster it means.
func (c command) parse(arguments []string) (cluster.Cluster, error) {
	if err := c.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return cluster.Cluster{}, err
		}
		return cluster.Cluster{}, errUsage
	}
	return cluster.New(*c.name, c.settings.states, c.settings.tools)
}

// parseAlone is parse for verbs that take flags only.
func (c command) parseAlone(arguments []string) (cluster.Cluster, error) {
	found, err := c.parse(arguments)
	if err == nil && c.NArg() > 0 {
		return found, fmt.Errorf("unexpected argument %q", c.Arg(0))
	}
	return found, err
}
