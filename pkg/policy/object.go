package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// object decodes an object of JSON. place says where the value of a name goes: into a pointer, as with json.Unmarshal,
// or to a function of the value's text; nil stands for a name that does not exist. Other than encoding/json does, it
// refuses names that come twice, or that are spelled otherwise, and null: each of them could hide a condition.
func object(data []byte, place func(name string) any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil {
		return unexpected(err)
	} else if t != json.Delim('{') {
		return errors.New("it is no object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return unexpected(err)
		}
		name := t.(string) // as all names in objects that the decoder lets through
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%q: %w", name, unexpected(err))
		}
		if seen[name] {
			return fmt.Errorf("%q comes twice", name)
		}
		seen[name] = true
		if err := put(place(name), value); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return unexpected(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something comes after the object")
	}
	return nil
}

func put(into any, value json.RawMessage) error {
	switch into := into.(type) {
	case nil:
		return errors.New("there is no such field")
	case func([]byte) error:
		return into(value)
	}
	if string(value) == "null" {
		return errors.New("it is null")
	}
	return json.Unmarshal(value, into)
}

// unexpected is an error of the decoder, which has a name of its own for the end of the text.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
