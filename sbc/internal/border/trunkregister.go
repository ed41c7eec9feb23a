package border

// contactToken is the user part of the contact that we register at a carrier. It tells nothing, and stays the same over restarts.
func (b *Border) contactToken(trunk string) string { return b.derive("trunk contact", trunk) }
