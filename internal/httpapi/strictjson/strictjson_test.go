package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// document is what the tests read: one field of each kind.
type document struct {
	Text string
	Data string // streamed
	Flag bool
	List []string
	Null bool
	In   *document
}

func read(d *strictjson.Decoder) (document, error) {
	var doc document
	err := object(d, &doc)
	if err == nil {
		err = d.End()
	}
	return doc, err
}

func object(d *strictjson.Decoder, doc *document) error {
	return d.Object(func(name string) (err error) {
		switch name {
		case "text":
			doc.Text, err = d.String(1 << 20)
		case "data":
			err = d.Stream(func(r io.Reader) error {
				all, err := io.ReadAll(r)
				doc.Data = string(all)
				return err
			})
		case "flag":
			doc.Flag, err = d.Bool()
		case "list":
			err = d.Array(3, func() error {
				item, err := d.String(8)
				doc.List = append(doc.List, item)
				return err
			})
		case "null":
			if doc.Null, err = d.Null(); err == nil && !doc.Null {
				_, err = d.String(8)
			}
		case "in":
			doc.In = &document{}
			err = object(d, doc.In)
		default:
			err = d.UnknownField()
		}
		return err
	})
}

func TestWellFormedDocumentsAreRead(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{}`:                                     `{"Text":"","Data":"","Flag":false,"List":null,"Null":false,"In":null}`,
		" \n{\t}\r\n":                            `{"Text":"","Data":"","Flag":false,"List":null,"Null":false,"In":null}`,
		`{"text":"","flag":true}`:                `{"Text":"","Data":"","Flag":true,"List":null,"Null":false,"In":null}`,
		`{"list":[],"null":null,"in":{"in":{}}}`: `{"Text":"","Data":"","Flag":false,"List":null,"Null":true,"In":{"Text":"","Data":"","Flag":false,"List":null,"Null":false,"In":{"Text":"","Data":"","Flag":false,"List":null,"Null":false,"In":null}}}`,
		`{"list":["a" , "b","c"],"null":"x"}`:    `{"Text":"","Data":"","Flag":false,"List":["a","b","c"],"Null":false,"In":null}`,
		`{"text":"\"\\\/\b\f\n\r\t\u00e9\uD83d\ude00é😀"}`:   `{"Text":"\"\\/\b\f\n\r\té😀é😀","Data":"","Flag":false,"List":null,"Null":false,"In":null}`,
		`{"data":"QUJD\/\u002b\u0041","te\u0078t":"after"}`: `{"Text":"after","Data":"QUJD/+A","Flag":false,"List":null,"Null":false,"In":null}`,
	} {
		for name, source := range map[string]io.Reader{
			"whole": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in)), "end with data": iotest.DataErrReader(strings.NewReader(in)),
		} {
			var expected document
			if err := json.Unmarshal([]byte(want), &expected); err != nil {
				t.Fatal(err)
			}
			got, err := read(strictjson.NewDecoder(source, 4<<10))
			if err != nil {
				t.Errorf("%s (%s): %v", in, name, err)
				continue
			}
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(expected)
			if !bytes.Equal(a, b) {
				t.Errorf("%s (%s):\ngot  %s\nwant %s", in, name, a, b)
			}
		}
	}
}

func TestRefusalsSayWhatAndWhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in      string
		kind    strictjson.Kind
		pointer string
	}{
		{``, strictjson.Syntax, ""},
		{`   `, strictjson.Syntax, ""},
		{`x`, strictjson.Syntax, ""},
		{"\ufeff{}", strictjson.Syntax, ""},
		{`[]`, strictjson.WrongType, ""},
		{`"text"`, strictjson.WrongType, ""},
		{`{}{}`, strictjson.Syntax, ""},
		{`{} x`, strictjson.Syntax, ""},
		{`{,}`, strictjson.Syntax, ""},
		{`{"text":"a",}`, strictjson.Syntax, ""},
		{`{"text":"a" "flag":true}`, strictjson.Syntax, ""},
		{`{"text" "a"}`, strictjson.Syntax, "/text"},
		{`{text:"a"}`, strictjson.Syntax, ""},
		{`{"text":}`, strictjson.Syntax, "/text"},
		{`{"text":"a`, strictjson.Syntax, "/text"},
		{`{"text":"a"`, strictjson.Syntax, ""},
		{`{"text":1}`, strictjson.WrongType, "/text"},
		{`{"text":-1}`, strictjson.WrongType, "/text"},
		{`{"text":null}`, strictjson.WrongType, "/text"},
		{`{"text":"a","text":"a"}`, strictjson.Duplicate, "/text"},
		{`{"text":"a","te\u0078t":"a"}`, strictjson.Duplicate, "/text"},
		{`{"a/b~c":1}`, strictjson.Unknown, "/a~1b~0c"},
		{`{"in":{"in":{"Text":"a"}}}`, strictjson.Unknown, "/in/in/Text"},
		{`{"` + strings.Repeat("n", 300) + `":1}`, strictjson.TooLong, ""},
		{`{"flag":"true"}`, strictjson.WrongType, "/flag"},
		{`{"flag":tru}`, strictjson.Syntax, "/flag"},
		{`{"flag":True}`, strictjson.Syntax, "/flag"},
		{`{"null":nil}`, strictjson.Syntax, "/null"},
		{`{"list":{}}`, strictjson.WrongType, "/list"},
		{`{"list":["a",1]}`, strictjson.WrongType, "/list/1"},
		{`{"list":["a",]}`, strictjson.Syntax, "/list/1"},
		{`{"list":["a" "b"]}`, strictjson.Syntax, "/list"},
		{`{"list":["a","b","c","d"]}`, strictjson.TooLong, "/list"},
		{`{"list":["123456789"]}`, strictjson.TooLong, "/list/0"},
		{`{"text":"\x41"}`, strictjson.Syntax, "/text"},
		{`{"text":"\u00g0"}`, strictjson.Syntax, "/text"},
		{`{"text":"\ud83d"}`, strictjson.Syntax, "/text"},
		{`{"text":"\ud83d\ud83d"}`, strictjson.Syntax, "/text"},
		{`{"text":"\ude00"}`, strictjson.Syntax, "/text"},
		{"{\"text\":\"a\nb\"}", strictjson.Syntax, "/text"},
		{"{\"text\":\"\x00\"}", strictjson.Syntax, "/text"},
		{"{\"text\":\"\xff\"}", strictjson.Syntax, "/text"},
		{"{\"data\":\"QUJD\nQUJD\"}", strictjson.Syntax, "/data"},
		{`{"data":7}`, strictjson.WrongType, "/data"},
		{`{"data":"QUJD`, strictjson.Syntax, "/data"},
		{`{"data":"QUJD\`, strictjson.Syntax, "/data"},
	} {
		_, err := read(strictjson.NewDecoder(strings.NewReader(test.in), 4<<10))
		refusal, ok := errors.AsType[*strictjson.Error](err)
		if !ok || refusal.Kind != test.kind || refusal.Pointer != test.pointer {
			t.Errorf("%q: got %v (kind %v), want kind %v at %q", test.in, err, refusal, test.kind, test.pointer)
		}
	}
}

func TestErrorOfTheSourceComesThrough(t *testing.T) {
	t.Parallel()
	broken := errors.New("the line went dead")
	for _, head := range []string{``, `{`, `{"te`, `{"text":"a`, `{"data":"QUJD`, `{"list":["a",`, `{"flag":tr`, `{"text":"\u0`} {
		_, err := read(strictjson.NewDecoder(io.MultiReader(strings.NewReader(head), iotest.ErrReader(broken)), 4<<10))
		if !errors.Is(err, broken) {
			t.Errorf("behind %q: %v", head, err)
		}
	}
}

// What a string holds goes on while it still arrives: nobody waits for its end, so nobody keeps it.
func TestStreamHandsOnWhatHasArrived(t *testing.T) {
	t.Parallel()
	source, sender := io.Pipe()
	handedOn := make(chan string)
	done := make(chan error, 1)
	go func() {
		d := strictjson.NewDecoder(source, 4<<10)
		err := d.Object(func(string) error {
			return d.Stream(func(r io.Reader) error {
				defer close(handedOn)
				buf := make([]byte, 64)
				for {
					n, err := r.Read(buf)
					if n > 0 {
						handedOn <- string(buf[:n])
					}
					if errors.Is(err, io.EOF) {
						return nil
					}
					if err != nil {
						return err
					}
				}
			})
		})
		done <- errors.Join(err, source.Close())
	}()
	for _, part := range []struct{ send, want string }{{`{"data":"QUJD`, "QUJD"}, {`REVG`, "REVG"}, {`\/`, "/"}} {
		if _, err := io.WriteString(sender, part.send); err != nil {
			t.Fatal(err)
		}
		if got := <-handedOn; got != part.want {
			t.Errorf("after %q came %q", part.send, got)
		}
	}
	if _, err := io.WriteString(sender, `"}`); err != nil {
		t.Fatal(err)
	}
	if _, more := <-handedOn; more {
		t.Error("more than was sent")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStreamSkipsWhatItsReaderLeaves(t *testing.T) {
	t.Parallel()
	d := strictjson.NewDecoder(strings.NewReader(`{"data":"`+strings.Repeat("A", 100_000)+`","text":"after"}`), 4<<10)
	var after string
	err := d.Object(func(name string) (err error) {
		if name == "data" {
			return d.Stream(func(r io.Reader) error { _, err := io.ReadFull(r, make([]byte, 10)); return err })
		}
		after, err = d.String(10)
		return err
	})
	if err != nil || after != "after" {
		t.Errorf("%q, %v", after, err)
	}
	refused := errors.New("I do not like it")
	d = strictjson.NewDecoder(strings.NewReader(`{"data":"AAAA"}`), 4<<10)
	if err := d.Object(func(string) error { return d.Stream(func(io.Reader) error { return refused }) }); !errors.Is(err, refused) {
		t.Errorf("the reader's refusal became %v", err)
	}
}

// FuzzDecoder holds the decoder against encoding/json: what we accept means the same there, and what we refuse is
// either refused there too or one of the things we are stricter about.
func FuzzDecoder(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"text":"a\u00e9\ud83d\ude00\n"}`, `{"data":"QUJD\/\u002b=="}`, `{"flag":true,"list":["a","b"],"null":null}`,
		`{"in":{"in":{"text":"x"}}}`, `{"text":"a","text":"b"}`, `{"text":"\ud83d"}`, `[1,2]`, `{"text":`, "{\"text\":\"\xff\"}", ` { "text" : "a" } `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := read(strictjson.NewDecoder(bytes.NewReader(in), 16))
		piecemeal, pieceErr := read(strictjson.NewDecoder(iotest.OneByteReader(bytes.NewReader(in)), 4<<10))
		if (err == nil) != (pieceErr == nil) {
			t.Fatalf("whole: %v, byte by byte: %v", err, pieceErr)
		}
		var lenient map[string]any
		lenientErr := json.Unmarshal(in, &lenient)
		if err != nil {
			if _, ok := errors.AsType[*strictjson.Error](err); !ok {
				t.Fatalf("an error without a pointer: %v", err)
			}
			return
		}
		if lenientErr != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", lenientErr)
		}
		a, _ := json.Marshal(got)
		if b, _ := json.Marshal(piecemeal); !bytes.Equal(a, b) {
			t.Fatalf("whole %s, byte by byte %s", a, b)
		}
		if text, given := lenient["text"].(string); given && text != got.Text {
			t.Fatalf("text %q, encoding/json %q", got.Text, text)
		}
		if data, given := lenient["data"].(string); given && utf8.ValidString(got.Data) && data != got.Data {
			t.Fatalf("data %q, encoding/json %q", got.Data, data)
		}
	})
}

// FuzzAccepts goes the other way: whatever a proper encoder makes of a text is read as that text.
func FuzzAccepts(f *testing.F) {
	for _, seed := range []string{"", "a", "é😀", "\"\\/\b\f\n\r\t\u2028<>&", strings.Repeat("long ", 60)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 1<<20 {
			return
		}
		in, err := json.Marshal(map[string]string{"text": text, "data": text})
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(strictjson.NewDecoder(bytes.NewReader(in), 16))
		if err != nil || got.Text != text || got.Data != text {
			t.Fatalf("%s: %+v, %v", in, got, err)
		}
	})
}
