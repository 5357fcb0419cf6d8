package wa

import (
	"reflect"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
)

// It fails when whatsmeow keeps what was sent elsewhere: then shed is to be changed, or to go.
func TestRoomForSentMessagesIsLetGo(t *testing.T) {
	t.Parallel()
	cli := whatsmeow.NewClient(&store.Device{}, nil)
	room := func() reflect.Value { return reflect.ValueOf(cli).Elem().FieldByName(sentByMemory) }
	if !room().IsValid() {
		t.Fatalf("whatsmeow has no %s any more", sentByMemory)
	}
	reserved := room().UnsafePointer()
	shed(cli)
	switch now := room(); {
	case now.UnsafePointer() == reserved:
		t.Error("whatsmeow still holds what it reserved")
	case now.IsNil():
		t.Error("whatsmeow cannot remember what it sends")
	}
	kept := room().UnsafePointer()
	reflect.NewAt(room().Type(), room().Addr().UnsafePointer()).Elem().SetMapIndex(reflect.New(room().Type().Key()).Elem(), reflect.New(room().Type().Elem()).Elem())
	shed(cli)
	if room().UnsafePointer() != kept {
		t.Error("what was remembered is gone")
	}
}
