package store

import "context"

// Trunk returns the trunk of that name.
func (s *Store) Trunk(name string) (*Trunk, bool) { return get[Trunk](s.db, tableTrunks, name) }

// Trunks returns all trunks, ordered by name.
func (s *Store) Trunks() []*Trunk {
	rows, _ := list[Trunk](s.db.Txn(false), tableTrunks, indexID)
	return rows
}

// SetTrunks makes trunks the whole table: readers see the old set or the new one. They are not logged.
func (s *Store) SetTrunks(ctx context.Context, trunks []*Trunk) error {
	_, err := s.do(ctx, func(t *txn) error {
		for _, tr := range trunks {
			if err := check("trunk", tr.Name); err != nil {
				return err
			}
		}
		old, _ := list[Trunk](t.Txn, tableTrunks, indexID)
		for _, tr := range old {
			if err := t.remove(tableTrunks, tr); err != nil {
				return err
			}
		}
		for _, tr := range trunks {
			c := *tr
			_, exists := first[Trunk](t.Txn, tableTrunks, c.Name)
			if err := t.insert(tableTrunks, &c, exists); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
