package strictjson

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// maxNumber bounds a number as it is written, in bytes.
const maxNumber = 64

// Float reads a number.
func (d *Decoder) Float() (float64, error) {
	c, err := d.token()
	if err != nil {
		return 0, err
	}
	if c != '-' && (c < '0' || c > '9') {
		return 0, d.notA(c, "must be a number")
	}
	text, err := d.number(c)
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, d.fail(WrongType, "is out of range")
	}
	return f, nil
}

// Scalar reads a string of at most limit bytes, a number as it is written, true, false, or null.
func (d *Decoder) Scalar(limit int) (text string, null bool, err error) {
	c, err := d.token()
	if err != nil {
		return "", false, err
	}
	switch {
	case c == '"':
		text, err = d.text(limit)
		return text, false, err
	case c == 'n':
		return "", true, d.rest("null"[1:])
	case c == 't':
		return "true", false, d.rest("true"[1:])
	case c == 'f':
		return "false", false, d.rest("false"[1:])
	case c == '-' || c >= '0' && c <= '9':
		text, err = d.number(c)
		return text, false, err
	}
	return "", false, d.notA(c, "must be a string, a number, true, false or null")
}

// number reads the rest of a number behind its first byte.
func (d *Decoder) number(first byte) (string, error) {
	text := []byte{first}
	for {
		c, err := d.byte()
		if err != nil {
			return "", err
		}
		if (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' {
			if err := d.r.UnreadByte(); err != nil {
				return "", fmt.Errorf("read body: %w", err)
			}
			break
		}
		if text = append(text, c); len(text) > maxNumber {
			return "", d.fail(TooLong, "is longer than %d bytes", maxNumber)
		}
	}
	if !json.Valid(text) {
		return "", d.fail(Syntax, "is not a number")
	}
	return string(text), nil
}
