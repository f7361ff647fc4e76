"""How far back can a recurrent network remember?"""
