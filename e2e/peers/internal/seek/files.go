package seek

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Reader searches a stream, reported under the given name.
func Reader(r io.Reader, name string, finder Finder) (*Report, error) {
	report := NewReport()
	n, err := Stream(r, finder, func(m Match) { report.hit(name, m) })
	report.Scanned = n
	if err == nil && n == 0 {
		err = ErrNothingRead
	}
	return report, err
}

// Tree searches every regular file under root, and the names and link targets themselves. It follows no link and
// leaves out the kernel's own file systems unless root is inside one of them.
func Tree(root string, finder Finder) (*Report, error) {
	report := NewReport()
	err := Walk(root, func(path string, entry fs.DirEntry, err error) {
		report.name(path, finder)
		if err != nil {
			report.unreadable(path, err)
			return
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if target, err := os.Readlink(path); err == nil {
				report.name(target, finder)
			}
		}
		if entry.Type().IsRegular() {
			report.file(path, finder)
		}
	})
	if err == nil && report.Scanned == 0 {
		err = ErrNothingRead
	}
	return report, err
}

// Walk visits what is under root, errors included, without following links, and without entering the kernel's own
// file systems unless root is inside one of them.
func Walk(root string, visit func(path string, entry fs.DirEntry, err error)) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if path != root && entry != nil && entry.IsDir() && isKernels(path) && !isKernels(root) {
			return fs.SkipDir
		}
		visit(path, entry, err)
		return nil
	})
}

func isKernels(path string) bool {
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if path == own || strings.HasPrefix(path, own+"/") {
			return true
		}
	}
	return false
}

func (r *Report) file(path string, finder Finder) {
	file, err := os.Open(path)
	if err != nil {
		r.unreadable(path, err)
		return
	}
	defer file.Close()
	n, err := Stream(file, finder, func(m Match) { r.hit(path, m) })
	r.Scanned += n
	if err != nil {
		r.unreadable(path, err)
	}
}

func (r *Report) name(path string, finder Finder) {
	for _, m := range finder.Find([]byte(path)) {
		r.hit("name of "+path, m)
	}
}
