
cdevent(0)
