package wa

import (
	"slices"
	"testing"
)

// A session is remembered only when it is known which one is in the database.
func TestSessionsAreRememberedOnlyWhenTheyAreSure(t *testing.T) {
	t.Parallel()
	var memory sessionMemory
	c, other := &sessionCache{memory: &memory}, &sessionCache{memory: &memory}
	session := func(v byte) map[string][]byte { return map[string][]byte{phone: {v}} }
	is := func(what string, want []byte) {
		t.Helper()
		known, unknown := c.recall([]string{phone, own})
		if !slices.Equal(known[phone], want) || slices.Contains(unknown, phone) != (want == nil) || !slices.Contains(unknown, own) {
			t.Errorf("%s: known are %v, unknown %v", what, known, unknown)
		}
	}
	is("at first", nil)
	c.beginSend(session(1))(session(1))
	is("after a send", []byte{1})
	known, _ := c.recall([]string{phone})
	known[phone][0] = 9
	is("after whatsmeow changed what it was given", []byte{1})
	if known, _ := other.recall([]string{phone}); len(known) > 0 {
		t.Errorf("another client knows %v", known)
	}

	end := c.beginSend(session(2))
	is("while a send writes", nil)
	end(nil)
	is("after a send that may have written", nil)

	end = c.beginSend(session(3))
	c.begin()(nil) // a message from that person, decrypted meanwhile
	end(session(3))
	is("after two writes at once", nil)
	during := c.begin()
	end = c.beginSend(session(4))
	during(nil)
	end(session(4))
	is("after a write that began during another", nil)

	c.beginSend(session(5))(session(5))
	c.begin()(nil)
	is("after another kind of write", nil)
	c.beginSend(session(6))(session(6))
	is("after the next send", []byte{6})

	// It holds no more than twice its bound.
	for i := range 3 * rememberedMost {
		address := string(rune('a'+i%26)) + string(rune(0x100+i))
		other.beginSend(map[string][]byte{address: {1}})(map[string][]byte{address: {1}})
	}
	if n := len(memory.now) + len(memory.old); n > 2*rememberedMost {
		t.Errorf("%d sessions are remembered", n)
	}
	is("after many others", nil)
}
