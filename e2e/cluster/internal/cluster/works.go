package cluster

import (
	"errors"
	"sync"
)

// firstError does one work after another until one fails.
func firstError(works ...func() error) error {
	for _, work := range works {
		if err := work(); err != nil {
			return err
		}
	}
	return nil
}

// together does all works at once and waits for all.
func together(works ...func() error) error {
	failures := make([]error, len(works))
	var group sync.WaitGroup
	for index, work := range works {
		group.Go(func() { failures[index] = work() })
	}
	group.Wait()
	return errors.Join(failures...)
}
