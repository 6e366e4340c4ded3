package swap

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// phase says what the root holds. It is on disk before the first change that makes it so.
type phase string

const (
	// hiding: everything in the root that is not pinned is the pod's own. Part of it may be in
	// the hold.
	hiding phase = "hiding"
	// placed: nothing in the root that is not pinned is the pod's own.
	placed phase = "placed"
	// restoring: as hiding, on the way back.
	restoring phase = "restoring"
)

// journal is what a later process needs to know in order to repair the root.
type journal struct {
	Phase phase
	Tree  string   // name of the tree's directory in the store
	Pins  []string // what stayed, by the mounts of that time
	// Files are the contents of the pod's own files that were written to meanwhile, by
	// their paths.
	Files map[string][]byte
	// Litter are absolute paths of what was made outside of the tree.
	Litter []string
}

func (s *Swap) journalPath() string { return s.inStore("journal") }
func (s *Swap) dirsPath() string    { return s.inStore("directories") }

// write replaces the journal as a whole. Nothing is synced: the journal is for processes
// that end, not for machines that do.
func (s *Swap) write(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := s.before("writing the journal"); err != nil {
		return err
	}
	tmp := s.journalPath() + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.journalPath())
}

// read returns the journal, nil if there is none.
func (s *Swap) read() (*journal, error) {
	data, err := os.ReadFile(s.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := new(journal)
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("the journal %s is damaged: %w", s.journalPath(), err)
	}
	return j, nil
}

// record appends the attributes of the pod's directory rel, before it is changed.
func (s *Swap) record(rel string) error {
	m, err := readMeta(s.inRoot(rel))
	if err != nil {
		return err
	}
	m.Path = rel
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := s.before("recording /" + rel); err != nil {
		return err
	}
	f, err := os.OpenFile(s.dirsPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// recorded reads what record wrote, in this order. A last line that was cut off belongs to a
// directory that was not changed any more.
func (s *Swap) recorded() ([]meta, error) {
	data, err := os.ReadFile(s.dirsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []meta
	r := bufio.NewReader(bytes.NewReader(data))
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.dirsPath(), err)
		}
		var m meta
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w", s.dirsPath(), err)
		}
		list = append(list, m)
	}
}

// forget removes the journal when the root is as it was.
func (s *Swap) forget() error {
	if err := s.before("removing the journal"); err != nil {
		return err
	}
	if err := os.Remove(s.journalPath()); err != nil {
		return err
	}
	if err := os.Remove(s.dirsPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
