package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// watch reads what `go build -v` says, shows progress, and returns the last lines for the case of failure.
func watch(name string, said io.Reader) string {
	var last []string
	began, packages, downloads := time.Now(), 0, 0
	shown := began
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "go: downloading") {
			downloads++
		} else {
			packages++
		}
		last = append(last, line)
		last = last[max(0, len(last)-20):]
		if time.Since(shown) > interval {
			shown = time.Now()
			fmt.Printf("  %s: %d modules fetched, %d packages compiled, %.0f s\n", name, downloads, packages, time.Since(began).Seconds())
		}
	}
	if time.Since(began) > interval {
		fmt.Printf("  %s: built in %.0f s\n", name, time.Since(began).Seconds())
	}
	return strings.Join(last, "\n")
}
