package store

import "context"

// ReleaseAllSessions gives up every lease, whoever holds it, and forgets every worker. Only a process that knows it is alone on the database may
// call it, before it acquires sessions itself: a predecessor that was killed then costs no wait for its leases.
func (s *Store) ReleaseAllSessions(ctx context.Context) error {
	return s.write(ctx, "release all sessions", func(t *tx) error {
		if _, err := t.exec(`UPDATE sessions SET owner = '', lease_until = 0 WHERE owner <> ''`); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE webhook_endpoints SET turn = '', turn_until = 0 WHERE turn <> ''`); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM workers`)
		return err
	})
}
