package seek

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Freeze says whether the searched process is stopped meanwhile.
type Freeze int

const (
	// Running searches the process as it runs.
	Running Freeze = iota
	// Frozen stops it with SIGSTOP first and lets it go on afterwards, so that the search sees one moment.
	Frozen
)

// Memory searches every readable mapping of a process ("self" or a number), page by page where a mapping has holes.
func Memory(process string, finder Finder, freeze Freeze) (*Report, error) {
	if freeze == Frozen {
		thaw, err := stop(process)
		if err != nil {
			return NewReport(), err
		}
		defer thaw()
	}
	mappings, err := readMappings(process)
	if err != nil {
		return NewReport(), err
	}
	memory, err := os.Open("/proc/" + process + "/mem")
	if err != nil {
		return NewReport(), err
	}
	defer memory.Close()

	report := NewReport()
	s := &sweep{finder: finder, found: func(m Match) { report.hit(placeOf(mappings, m), m) }}
	for i, m := range mappings {
		if i == 0 || mappings[i-1].end != m.start {
			s.jump(m.start)
		}
		if err := searchMapping(memory, m, s, report); err != nil {
			report.unreadable(m.String(), err)
		}
	}
	if report.Scanned == 0 {
		return report, ErrNothingRead
	}
	return report, nil
}

type mapping struct {
	start, end        int64
	permissions, name string
}

func (m mapping) String() string {
	return strings.TrimSpace(fmt.Sprintf("%x-%x %s %s", m.start, m.end, m.permissions, m.name))
}

func placeOf(mappings []mapping, m Match) string {
	for _, candidate := range mappings {
		if m.Offset >= candidate.start && m.Offset < candidate.end {
			return candidate.String()
		}
	}
	return "between mappings"
}

// readMappings lists the readable mappings. The kernel's own (vvar, vsyscall) hold nothing of the process and
// cannot be read this way.
func readMappings(process string) ([]mapping, error) {
	listing, err := os.ReadFile("/proc/" + process + "/maps")
	if err != nil {
		return nil, err
	}
	var mappings []mapping
	lines := bufio.NewScanner(bytes.NewReader(listing))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasPrefix(fields[1], "r") {
			continue
		}
		name := strings.Join(fields[min(5, len(fields)):], " ")
		if strings.HasPrefix(name, "[vvar") || name == "[vsyscall]" {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, startErr := strconv.ParseInt(from, 16, 64)
		end, endErr := strconv.ParseInt(to, 16, 64)
		if startErr != nil || endErr != nil {
			return nil, fmt.Errorf("cannot read the mapping %q", lines.Text())
		}
		mappings = append(mappings, mapping{start, end, fields[1], name})
	}
	return mappings, lines.Err()
}

// searchMapping reads a mapping in large pieces, and where one cannot be read whole, in pages. It returns the last
// error met, if any.
func searchMapping(memory io.ReaderAt, m mapping, s *sweep, report *Report) error {
	buffer := make([]byte, chunk)
	page := int64(os.Getpagesize())
	var last error
	for at := m.start; at < m.end; {
		n, err := memory.ReadAt(buffer[:min(chunk, m.end-at)], at)
		s.next(buffer[:n])
		report.Scanned += int64(n)
		at += int64(n)
		if err != nil && at < m.end {
			last = err
			at = (at/page + 1) * page
			s.jump(at)
		}
	}
	return last
}

// stop halts a process and waits until it stands.
func stop(process string) (thaw func(), err error) {
	pid, err := strconv.Atoi(process)
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return nil, fmt.Errorf("cannot freeze process %q", process)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stopping process %d: %w", pid, err)
	}
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	for range 1000 {
		stat, err := os.ReadFile("/proc/" + process + "/stat")
		if err != nil {
			thaw()
			return nil, err
		}
		if state := string(stat[strings.LastIndexByte(string(stat), ')')+2]); state == "T" || state == "t" {
			return thaw, nil
		}
		time.Sleep(time.Millisecond)
	}
	thaw()
	return nil, fmt.Errorf("process %d did not stop", pid)
}
